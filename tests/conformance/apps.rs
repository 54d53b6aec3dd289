//! Rows of `[sig-apps]`.
