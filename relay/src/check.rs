//! Whether everything in a store agrees.
