//! Whole-system tests and the rigs they stand on: a real TLS origin that answers as the LLM providers do, the real clients that call it, and a
//! stage on which both meet the programs under test, and a real Kubernetes.

pub mod client;
pub mod cluster;
pub mod dns;
pub mod gateway;
pub mod hub;
pub mod namespace;
pub mod origin;
pub mod pod;
pub mod proxy;
pub mod stage;
pub mod wire;
