//! The gateway over HTTP: what AgentOpt's client sends and needs, and what it must not do.

mod access;
mod cache;
mod odd_requests;
mod protocol;
mod records;
mod sessions;
mod traffic;
