//! Rows of `[sig-storage]`.
