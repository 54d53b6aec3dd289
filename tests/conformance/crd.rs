//! Rows of `[sig-api-machinery]` about custom resources.
