//! Everything asked of an API server: single calls, listings that stay live, objects that stay live, logs.
//! All of it goes through `kube::Client`, in process or over the network, and answers with messages.

pub mod contexts;
pub mod describe;
pub mod graph;
pub mod jsonpath;
pub mod line;
pub mod logs;
pub mod observe;
pub mod printer;
pub mod session;
pub mod timeline;
pub mod transfer;
pub mod watch;
pub mod work;

pub use coracle_verbs::{call, discover, fault};

pub use call::Call;
pub use fault::{Fault, FaultKind};
