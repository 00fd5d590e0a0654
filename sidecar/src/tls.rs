//! TLS: our authority, the roots, and the upstream side.

pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod files;
mod pem;
pub(crate) mod trust;
