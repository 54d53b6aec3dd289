//! Coracle's node room.

pub mod runtime;
