//! Integration tests of the core: properties over whole histories.

mod documents;
mod hostile;
mod store;
