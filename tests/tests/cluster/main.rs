//! The cluster's parts together on the real Kubernetes of `tests/cluster`; `tests/run` starts it and runs these after all others.

mod bad_agents;
mod bad_pods;
mod chart;
mod crd;
mod example;
mod identity;
mod infrastructure;
mod lifecycle;
mod names;
mod neighbours;
mod phases;
mod plain_job;
mod proxyless;
mod quota;
mod refused;
mod rig;
mod routing;
mod scoring;
mod serial;
