//! Coracle's verbs room.
