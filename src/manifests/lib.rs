//! Coracle's manifests room.
