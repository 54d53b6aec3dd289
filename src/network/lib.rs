//! Coracle's network room.
