//! Combos, datapoints, scoring, statistics, selection and ranking.
//!
//! Everything here is a function of plain data: no clock, no files, no processes, no state between calls.
//! The order of reading: [`combo`] and [`dataset`] say what is evaluated, [`trial`] what was seen, [`select`] what to run
//! next, [`score`] how an output becomes a number, [`rank`] which combo is best, [`summary`] and [`report`] what is told.

#![forbid(unsafe_code)]

pub mod combo;
pub mod dataset;
pub mod decimal;
pub mod rank;
pub mod report;
pub mod score;
pub mod select;
pub mod stats;
pub mod summary;
pub mod trial;
