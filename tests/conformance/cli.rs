//! Rows of `[sig-cli]`.
