//! Why the network cannot be had.

use std::io;
use std::path::PathBuf;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A network namespace cannot be made or entered.
    #[error("network namespace {path}: {step}")]
    Namespace {
        /// Where it is mounted.
        path: PathBuf,
        /// Which step.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A link, address or route cannot be made.
    #[error("{what}")]
    Link {
        /// Which one.
        what: String,
        /// What the kernel said.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// A link that was just made is not there.
    #[error("network interface {name} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A file of the run directory cannot be read or written.
    #[error("{path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The text is no IPv4 range.
    #[error("{text:?} is not an IPv4 range such as 10.244.0.0/16")]
    Range {
        /// What was given.
        text: String,
    },
    /// The host already routes one of the ranges elsewhere.
    #[error("the host already uses {range} (route to {route}); choose others with --pod-cidr and --service-cidr")]
    RangeInUse {
        /// The range wanted.
        range: Cidr,
        /// The host's route that overlaps it.
        route: Cidr,
    },
}

use crate::ranges::Cidr;
