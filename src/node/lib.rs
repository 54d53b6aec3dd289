//! Coracle's node room.

pub mod demo;
pub mod images;
pub mod runtime;
pub mod shim;
