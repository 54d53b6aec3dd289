//! Coracle's store room.
