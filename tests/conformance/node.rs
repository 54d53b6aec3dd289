//! Rows of `[sig-node]` and `[sig-architecture]`.
