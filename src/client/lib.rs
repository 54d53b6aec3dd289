//! Coracle's client room.
