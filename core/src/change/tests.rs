//! Tests of reading, checking and making chunks.
