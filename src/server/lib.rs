//! Coracle's server room.

pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod objects;
pub mod pki;
