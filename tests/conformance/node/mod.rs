//! Rows of `[sig-node]`.

mod containers;
mod environment;
mod kinds;
mod pods;
mod probes;
mod resize;
mod runtime_classes;
mod taints;
