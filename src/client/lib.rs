//! How every actor reaches an API server, and what all actors share to be level-triggered.
//!
//! Actors (controllers, scheduler, node, network, manifests, verbs, the terminal UI) hold a [`kube::Client`] and never
//! learn whether it talks to the server in this process ([`in_process`], no sockets, no TLS) or to a remote one
//! ([`from_kubeconfig`]). This room knows neither the server nor the store: the in-process transport is generic over a
//! tower service.
//!
//! Begin reading with [`Clients`] (one client per identity), then [`Informer`] (a cache of one kind, shared by all actors),
//! [`Queue`] (what is to be reconciled), [`supervise`] (restarts an actor) and [`EventRecorder`].
//!
//! Invariants:
//! - there is one informer per kind and [`Informers`]; its cache changes before the change is announced;
//! - a key is handed out by a [`Queue`] to one worker at a time;
//! - recording an event never waits and never fails its caller.

mod compact;
mod correlate;
mod events;
mod health;
mod informer;
mod informers;
mod kubeconfig;
mod queue;
mod revision;
mod supervise;
mod transport;
mod watching;

pub use events::{EventRecorder, EventType, Pace, Throttle};
pub use health::{Actor, QueueCounts, actors};
pub use informer::{Change, Index, Informer};
pub use informers::{Informers, Watchable, Watched};
pub use kubeconfig::{KubeconfigError, Remote, contexts, from_kubeconfig};
pub use queue::{Backoff, Item, Queue};
pub use revision::{is_conflict, is_exists, is_gone, is_not_found, revision_of};
pub use supervise::supervise;
pub use transport::{Clients, Connect, in_process};
