//! What a session keeps beside its views: writes that can be undone, port-forwards, what the person may do.

pub mod access;
pub mod changes;
pub mod forwards;
pub mod usage;
