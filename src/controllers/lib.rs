//! Coracle's controllers room.
