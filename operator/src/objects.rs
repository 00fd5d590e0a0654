//! Objects that the operator makes or reads, one a file. Pure: JSON goes in, JSON comes out.

pub mod job;
pub mod labels;
pub mod scoring;
