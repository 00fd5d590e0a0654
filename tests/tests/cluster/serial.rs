//! Tests that break something for all others: each runs while no other does.

mod certificates;
mod chaos;
mod control_plane;
mod database;
mod hub_away;
mod late_sidecar;
mod operator_away;
mod upgrade;
