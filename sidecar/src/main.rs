//! The `agentrun-sidecar` binary.
fn main() {}
