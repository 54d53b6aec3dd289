//! The views, one file each.

pub mod boot;
pub mod containers;
pub mod editor;
pub mod logs;
pub mod manifests;
pub mod table;
pub mod text;
