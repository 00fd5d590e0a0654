//! The cluster's parts together on the real Kubernetes of `tests/cluster`; `tests/run` starts it and runs these after all others.

mod bad_agents;
mod bad_pods;
mod certificates;
mod chaos;
mod chart;
mod control_plane;
mod crd;
mod database;
mod example;
mod hub_away;
mod identity;
mod infrastructure;
mod lifecycle;
mod neighbours;
mod operator_away;
mod phases;
mod plain_job;
mod proxyless;
mod quota;
mod refused;
mod rig;
mod scoring;
