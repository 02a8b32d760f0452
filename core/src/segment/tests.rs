//! Tests of documents: their bounds, batches and annotations.
