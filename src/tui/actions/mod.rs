//! What the actions of the table do, by what they are about.

pub mod cluster;
pub mod manifests;
pub mod move_about;
pub mod object;
pub mod show;
pub mod text;
