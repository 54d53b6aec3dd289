//! Coracle's present room.
