//! The `agentrun-operator` binary.

fn main() {}
