//! Brute force: every combo on every datapoint, `samples` times.
//!
//! The order is sample, then datapoint, then combo:
//! * all combos of a datapoint run near each other, and combos that share their first roles are neighbours in the product.
//!   Their equal calls meet in flight or in memory, so each distinct one is paid once and is answered from the nearest cache;
//! * at any time all combos have met almost the same datapoints, so a run that is stopped early still compares them fairly;
//! * every datapoint is met once before any is repeated.

use crate::select::{Next, Spec};
use crate::trial::{Observations, TrialKey};

pub(super) fn next(spec: &Spec, observations: &Observations, limit: usize) -> Next {
    let mut trials = Vec::new();
    let mut open = false;
    'rows: for sample in 0..spec.samples {
        for datapoint in 0..spec.datapoints {
            for combo in observations.first_open(sample, datapoint)..spec.combos {
                let key = TrialKey { combo, datapoint, sample };
                if observations.is_given_out(key) {
                    continue;
                }
                open = true;
                if trials.len() >= limit {
                    break 'rows;
                }
                trials.push(key);
            }
        }
    }
    match (trials.is_empty(), open || observations.running() > 0) {
        (false, _) => Next::Trials(trials),
        (true, true) => Next::Wait,
        (true, false) => Next::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::{Method, next};
    use crate::trial::{Observation, TrialState};
    use proptest::prelude::*;

    fn spec(combos: usize, datapoints: usize, samples: u32) -> Spec {
        Spec { method: Method::BruteForce, combos, datapoints, samples }
    }

    fn key(combo: usize, datapoint: usize, sample: u32) -> TrialKey {
        TrialKey { combo, datapoint, sample }
    }

    #[test]
    fn all_combos_of_a_datapoint_come_before_the_next_and_all_datapoints_before_a_repeat() {
        let Next::Trials(trials) = next(&spec(2, 2, 2), &Observations::new(), 100) else { panic!("there are trials") };
        let expected: Vec<TrialKey> =
            [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)].map(|(c, d, s)| key(c, d, s)).into();
        assert_eq!(trials, expected);
    }

    #[test]
    fn running_trials_are_waited_for_and_pending_ones_given_out_again() {
        let spec = spec(1, 2, 1);
        let mut observations = Observations::new();
        observations.record(key(0, 0, 0), Observation::bare(TrialState::Running));
        assert_eq!(next(&spec, &observations, 5), Next::Trials(vec![key(0, 1, 0)]));
        assert_eq!(next(&spec, &observations, 0), Next::Wait);
        observations.record(key(0, 1, 0), Observation::bare(TrialState::Succeeded { score: 1.0 }));
        assert_eq!(next(&spec, &observations, 5), Next::Wait);
        observations.record(key(0, 0, 0), Observation::bare(TrialState::Pending));
        assert_eq!(next(&spec, &observations, 5), Next::Trials(vec![key(0, 0, 0)]));
        observations.record(key(0, 0, 0), Observation::bare(TrialState::Unobserved));
        assert_eq!(next(&spec, &observations, 5), Next::Done);
    }

    #[test]
    fn observations_outside_the_space_do_not_hide_trials_inside_it() {
        let mut observations = Observations::new();
        observations.record(key(9, 0, 0), Observation::bare(TrialState::Unobserved));
        assert_eq!(next(&spec(1, 1, 1), &observations, 5), Next::Trials(vec![key(0, 0, 0)]));
    }

    proptest! {
        #[test]
        fn any_pace_runs_every_trial_once_and_ends(combos in 1_usize..5, datapoints in 1_usize..5, samples in 1_u32..3, limit in 1_usize..7) {
            let spec = spec(combos, datapoints, samples);
            let mut observations = Observations::new();
            let mut ran = Vec::new();
            while let Next::Trials(trials) = next(&spec, &observations, limit) {
                prop_assert!(trials.len() <= limit);
                for trial in trials {
                    ran.push(trial);
                    observations.record(trial, Observation::bare(TrialState::Unobserved));
                }
            }
            prop_assert_eq!(ran.len() as u64, spec.trials());
            ran.sort();
            ran.dedup();
            prop_assert_eq!(ran.len() as u64, spec.trials());
            prop_assert_eq!(next(&spec, &observations, limit), Next::Done);
        }
    }
}
