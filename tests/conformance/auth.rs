//! Rows of `[sig-auth]`.
