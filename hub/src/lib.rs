//! The store of runs, trials, outputs and records.
