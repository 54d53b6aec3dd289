//! What the actions of the table do, by what they are about.

pub mod access;
pub mod change;
pub mod cluster;
pub mod exec;
pub mod forward;
pub mod helm;
pub mod history;
pub mod manifests;
pub mod move_about;
pub mod object;
pub mod overview;
pub mod panes;
pub mod relations;
pub mod rightsize;
pub mod rollout;
pub mod session;
pub mod show;
pub mod status;
pub mod text;
pub mod timeline;
