//! Rows of `[sig-network]`.
