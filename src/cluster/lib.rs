//! Coracle's cluster room.
