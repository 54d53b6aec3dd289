//! The pod network, the service proxy and the cluster's DNS.
//!
//! Everything lives in one network namespace, the lab, which needs neither CNI nor iptables. Begin reading at [`Lab`];
//! [`proxy`] and [`dns`] listen on addresses that only exist in there. This room knows the API only through its client,
//! and the node agent only through `coracle_api::seams::PodNetwork`.
//!
//! ```text
//!  host  ── veth, a /30 of the pod range ──  lab namespace ── one bridge per node ── veth ── pod namespaces
//!   routes: pod range and service range via the lab     service range is local (AnyIP): any cluster IP can be bound
//! ```
//! Invariants: pods' namespaces and addresses outlive the process; whatever is made is found again by name or by a
//! file below the run directory; the host gets one link and two routes, and loses them at `stop`.

pub mod dns;
pub mod egress;
mod error;
pub mod ingress;
mod lab;
mod links;
mod namespace;
mod nft;
mod pods;
pub mod policy;
pub mod proxy;
mod ranges;
mod routes;
mod simulated;

pub use error::NetworkError;
pub use lab::{Lab, LabConfig};
pub use nft::program as nft_program;
pub use ranges::{Cidr, Ranges};
pub use routes::host_routes;
pub use simulated::SimulatedNetwork;
