//! Coracle's scheduler room.
