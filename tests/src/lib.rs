//! Whole-system tests and the rigs they stand on.
