//! Rows of `[sig-scheduling]`.
