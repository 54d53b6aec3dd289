//! Rows of `[sig-api-machinery]` about admission webhooks, admission policies and ResourceQuota.
