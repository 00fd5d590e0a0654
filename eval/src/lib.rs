//! Combos, datapoints, scoring, statistics, selection and ranking.
