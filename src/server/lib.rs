//! Coracle's server room.
