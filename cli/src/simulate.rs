//! Answers every LLM host in this process, in the host's own shape, from a file that says how good, slow and wordy each model is.
//!
//! People check a plan's plumbing and price with it before they pay. What an answer says is decided by the seed, the model, the request and
//! the sample alone ([`draw`]), so that a simulation gives the same result every time.

mod answer;
mod draw;
mod file;
mod origin;
mod paced;

pub(crate) use file::Simulation;
pub(crate) use origin::Simulator;
