//! The views, one file each.

pub mod boot;
pub mod containers;
pub mod editor;
pub mod logs;
pub mod manifests;
pub mod preview;
pub mod pulse;
pub mod shell;
pub mod table;
pub mod text;
pub mod tree;
