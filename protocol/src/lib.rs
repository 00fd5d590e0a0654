//! What the parts say to each other, and nothing else: the names they put on Kubernetes objects ([`names`]) and into the environment of agents
//! ([`base_url`]), the flags that a pod's parts are started with ([`pod`]), what a pod's sidecar and the hub exchange ([`trial`], [`lease`],
//! [`score`]), what the operator and the hub exchange ([`run`]), and what readers ask ([`query`]).
//! Which policies choose the models of calls ([`routing`]), and how errors are told ([`sentence`]).
//!
//! Pure: no async, no I/O. Every message is JSON in UTF-8 unless its documentation says otherwise; unknown fields are ignored, so that
//! a newer part can speak to an older one.

#![forbid(unsafe_code)]

pub mod base_url;
pub mod lease;
pub mod names;
pub mod paths;
pub mod pod;
pub mod query;
pub mod routing;
pub mod run;
pub mod score;
mod sentence;
pub mod trial;

pub use sentence::sentence;
