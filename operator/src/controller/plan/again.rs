//! Trials that the infrastructure lost after their Job had counted them: tried again by a Job of their own, as often as tries are left.
//!
//! Kubernetes tries an index again only before it has counted it. An agent that ends otherwise than by SIGTERM as its pod is deleted, or a
//! sidecar that dies after its pod's other containers, is counted at once. The hub tells what it lost ([`Aggregate::lost`]); once all trials of
//! a combo and chunk are known or lost, those that are lost are the next Job's. What is decided follows from the Jobs that are there, so that
//! any replica decides the same.

use std::collections::BTreeMap;

use agentrun_protocol::run::{Aggregate, JobProgress};

use crate::objects::job::{JobView, Place};
use crate::ranges::Ranges;

/// How far the trials of each combo and chunk are, each as the last Job that tries it has it.
pub fn progress(jobs: &BTreeMap<Place, JobView>, retries: u64) -> Vec<JobProgress> {
    let mut told: BTreeMap<Place, (Ranges, Ranges, u64)> = BTreeMap::new();
    for (place, job) in jobs {
        let (succeeded, failed, rounds) = told.entry(place.of_first()).or_default();
        *succeeded = succeeded.without(&job.cells).union(&job.succeeded);
        *failed = failed.without(&job.cells).union(&job.failed);
        *rounds = (*rounds).max(place.round);
    }
    let told = told.into_iter().map(|(place, (succeeded, failed, rounds))| JobProgress {
        combo: place.combo,
        chunk: place.chunk,
        succeeded: succeeded.to_string(),
        failed: failed.to_string(),
        again: rounds < retries,
    });
    told.collect()
}

/// The Jobs to make for lost trials, each with its cells.
pub fn wanted(jobs: &BTreeMap<Place, JobView>, told: &Aggregate, done: &BTreeMap<Place, Ranges>, retries: u64) -> BTreeMap<Place, Ranges> {
    let nothing = Ranges::default();
    let lost = told.lost.iter().map(|(combo, chunk, cells)| (Place::first(*chunk, *combo), Ranges::parse(cells)));
    let ready = lost.filter_map(|(first, lost)| {
        let rounds: Vec<(&Place, &JobView)> = jobs.range(first..=Place { round: u64::MAX, ..first }).collect();
        let (last, _) = rounds.last()?;
        let known = done.get(&first).unwrap_or(&nothing).union(&lost);
        let is_over = |job: &JobView| job.need() == 0 && job.cells.is_within(&known);
        let all_over = rounds.iter().all(|(_, job)| is_over(job));
        // One that was just made stands for trials that the hub may still call lost.
        (all_over && last.round < retries && !lost.is_empty()).then(|| (Place { round: last.round + 1, ..first }, lost))
    });
    ready.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(round: u64) -> Place {
        Place { round, ..Place::first(0, 0) }
    }

    fn job(cells: &str, succeeded: &str, failed: &str) -> JobView {
        let cells = Ranges::parse(cells);
        let (succeeded, failed) = (Ranges::parse(succeeded), Ranges::parse(failed));
        JobView { completions: cells.count(), cells, succeeded, failed, ..JobView::default() }
    }

    fn next(jobs: &[JobView], lost: &str, done: &str, retries: u64) -> Option<(u64, String)> {
        let jobs = (0..).map(place).zip(jobs.iter().cloned()).collect();
        let told = Aggregate { lost: vec![(0, 0, lost.to_owned())], ..Aggregate::default() };
        let done = BTreeMap::from([(place(0), Ranges::parse(done))]);
        let mut wanted = wanted(&jobs, &told, &done, retries).into_iter().map(|(place, cells)| (place.round, cells.to_string()));
        wanted.next()
    }

    #[test]
    fn lost_trials_are_tried_again_once_the_others_are_known_and_tries_are_left() {
        let over = job("0-9", "0-4,6-9", "5");
        let table = [
            (vec![over.clone()], "2,5", "0-1,3-4,6-9", 2, Some((1, "2,5"))),
            (vec![over.clone()], "2,5", "0-1,3-4,6-8", 2, None),
            (vec![over.clone()], "2,5", "0-1,3-4,6-9", 0, None),
            (vec![over.clone()], "", "0-9", 2, None),
            (vec![job("0-9", "0-4,6-8", "5")], "5", "0-4,6-9", 2, None),
            (vec![over.clone(), job("2,5", "", "")], "2,5", "0-1,3-4,6-9", 2, None),
            (vec![over.clone(), job("2,5", "2", "5")], "5", "0-4,6-9", 2, Some((2, "5"))),
            (vec![over.clone(), job("2,5", "2", "5")], "5", "0-4,6-9", 1, None),
            (vec![], "5", "0-4,6-9", 2, None),
        ];
        for (jobs, lost, done, retries, expected) in table {
            let expected = expected.map(|(round, cells)| (round, cells.to_owned()));
            assert_eq!(next(&jobs, lost, done, retries), expected, "{jobs:?} {lost} {done} {retries}");
        }
    }

    #[test]
    fn what_is_tried_again_is_told_as_the_last_job_has_it() {
        let jobs = BTreeMap::from([(place(0), job("0-9", "0-4,6-9", "5")), (place(1), job("2,5", "", "")), (place(2), job("5", "5", ""))]);
        let told = progress(&jobs, 3);
        assert_eq!((told[0].succeeded.as_str(), told[0].failed.as_str(), told[0].again, told.len()), ("0-1,3-9", "", true, 1));
        assert!(!progress(&jobs, 2)[0].again, "no try is left");
        let first: BTreeMap<Place, JobView> = jobs.into_iter().take(1).collect();
        let told = progress(&first, 1);
        assert_eq!((told[0].succeeded.as_str(), told[0].failed.as_str(), told[0].again), ("0-4,6-9", "5", true));
        assert!(!progress(&first, 0)[0].again);
    }
}
