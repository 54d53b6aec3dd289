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
pub mod timeline;
pub mod tree;

/// What views and the layers over them are called: each has its picture in the tests.
pub const NAMES: &[&str] = &[
    "activity",
    "aliases",
    "benchmarks",
    "boot",
    "containers",
    "contexts",
    "describe",
    "dialog",
    "diff",
    "document",
    "drafts",
    "editor",
    "finder",
    "fleet",
    "groups",
    "helm",
    "helm revisions",
    "help",
    "images",
    "jobs",
    "keys",
    "logs",
    "manifests",
    "menu",
    "picker",
    "port-forwards",
    "prompt",
    "pulse",
    "revisions",
    "rightsize",
    "rules",
    "screen-dumps",
    "shell",
    "status",
    "table",
    "tasks",
    "themes",
    "timeline",
    "users",
    "versions",
    "who can",
    "why",
    "workloads",
    "xray",
    "yaml",
];
