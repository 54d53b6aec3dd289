//! Coracle's tui room.
