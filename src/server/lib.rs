//! The API server: HTTP, who asks and whether they may, admission, the resources and their watches.
//!
//! This room knows the store and the vocabulary of `api`; it knows no actor. What runs on nodes it reaches through
//! `api`'s `NodeDialer`. Begin reading at [`Server`], then `registry`.
//!
//! ```text
//! connection (http::serve) ─┐
//! tower call in the process ┴─► Server::handle: who asks ► may they ► which resource ► registry / subresource / discovery
//!                                                   registry: decode ► default ► admit ► validate ► encode ► store
//! ```
//! Invariants:
//! - What readers get are the stored bytes, copied; only writes, Tables and selectors decode, and decodes are counted.
//! - Every request is authenticated and authorized, callers in this process included.
//! - A request answers with an object, a list or a `Status`, never with a panic.

pub mod admission;
mod aggregation;
pub mod allocate;
mod answer;
pub mod authn;
pub mod authz;
pub mod bootstrap;
mod cells;
mod certificates;
pub mod codec;
mod custom;
pub mod discovery;
mod follow;
mod gate;
pub mod http;
mod metrics;
pub mod negotiate;
pub mod objects;
pub mod openapi;
mod options;
pub mod pki;
mod proxy;
mod registry;
pub mod request;
pub mod review;
mod server;
mod streams;
mod subresource;
mod table;
mod usage;
mod vocabulary;
mod webhook;

pub use http::body::{BODY_LIMIT, Body};
pub use server::{Config, Server, ServerError};
