//! Integration tests of the core.
#![allow(missing_docs)]
