//! Whole-system tests and the rigs they stand on: a real TLS origin that answers as the LLM providers do.

pub mod origin;
