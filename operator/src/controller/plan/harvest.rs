//! Finished pods: gone as soon as their Job has counted them and the hub has their results, many with one request.

use std::collections::BTreeMap;

use crate::objects::job::{JobView, Place};
use crate::ranges::Ranges;

/// Pods are collected when there are so many, or the run's limit of trials at once where it is larger.
const WORTH_A_REQUEST: u64 = 100;
/// Or when the last collection is so many seconds ago.
const SECONDS: u64 = 30;

/// What was collected so far; the shell keeps it. Without it a collection is asked for once more, which does no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many indexes of each Job had succeeded at its last collection.
    pub succeeded: BTreeMap<Place, u64>,
    /// Seconds since the last collection.
    pub seconds: u64,
}

/// Whose finished pods go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// Those of all the run's Jobs.
    All(Vec<(Place, u64)>),
    /// Those of one.
    One(Place, u64),
}

impl Collection {
    /// The Jobs, each with how many of its indexes have succeeded.
    pub fn jobs(&self) -> Vec<(Place, u64)> {
        match self {
            Self::All(jobs) => jobs.clone(),
            Self::One(place, count) => vec![(*place, *count)],
        }
    }
}

/// The collections to make. A Job's pods go only if the hub has a final result for each index that Kubernetes counted: a sidecar tells its
/// end before its pod ends, so this holds but for what is missing, and that is worth a look at the pod's log.
pub fn collections(
    jobs: &BTreeMap<Place, JobView>,
    done: &BTreeMap<Place, Ranges>,
    collected: &Collected,
    limit: u64,
    idle: bool,
) -> Vec<Collection> {
    let nothing = Ranges::default();
    let fresh =
        |place: &Place, job: &JobView| job.succeeded.count().saturating_sub(collected.succeeded.get(place).copied().unwrap_or_default());
    let open: Vec<(&Place, &JobView)> = jobs.iter().filter(|(place, job)| fresh(place, job) > 0).collect();
    let ready: Vec<(&Place, &JobView)> =
        open.iter().filter(|(place, job)| job.succeeded.is_within(done.get(&place.of_first()).unwrap_or(&nothing))).copied().collect();
    let count: u64 = ready.iter().map(|(place, job)| fresh(place, job)).sum();
    let due = idle || collected.seconds >= SECONDS || count >= WORTH_A_REQUEST.max(limit);
    if ready.is_empty() || !due {
        return Vec::new();
    }
    let counted = |(place, job): &(&Place, &JobView)| (**place, job.succeeded.count());
    if ready.len() == open.len() {
        return vec![Collection::All(ready.iter().map(counted).collect())];
    }
    ready.iter().map(counted).map(|(place, count)| Collection::One(place, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(combo: u64) -> Place {
        Place::first(0, combo)
    }

    fn jobs(succeeded: &[&str]) -> BTreeMap<Place, JobView> {
        let view = |text: &&str| JobView { completions: 1000, succeeded: Ranges::parse(text), ..JobView::default() };
        succeeded.iter().enumerate().map(|(combo, text)| (place(combo as u64), view(text))).collect()
    }

    fn done(indexes: &[&str]) -> BTreeMap<Place, Ranges> {
        indexes.iter().enumerate().map(|(combo, text)| (place(combo as u64), Ranges::parse(text))).collect()
    }

    #[test]
    fn pods_go_when_many_or_long_enough_are_done_and_known() {
        let none = Collected::default();
        let late = Collected { seconds: SECONDS, ..Collected::default() };
        let all =
            |counts: &[u64]| vec![Collection::All(counts.iter().enumerate().map(|(combo, count)| (place(combo as u64), *count)).collect())];
        let (few, many) = (jobs(&["0-9"]), jobs(&["0-99"]));
        assert_eq!(collections(&few, &done(&["0-20"]), &none, 8, false), []);
        assert_eq!(collections(&few, &done(&["0-20"]), &late, 8, false), all(&[10]));
        assert_eq!(collections(&few, &done(&["0-20"]), &none, 8, true), all(&[10]));
        assert_eq!(collections(&many, &done(&["0-99"]), &none, 8, false), all(&[100]));
        assert_eq!(collections(&many, &done(&["0-99"]), &none, 200, false), []);
        assert_eq!(collections(&many, &done(&["0-98"]), &late, 8, true), [], "one result is still to come");
        assert_eq!(collections(&many, &BTreeMap::new(), &late, 8, true), []);
    }

    #[test]
    fn nothing_is_collected_twice_and_one_job_does_not_wait_for_another() {
        let collected = Collected { succeeded: BTreeMap::from([(place(0), 10)]), seconds: SECONDS };
        assert_eq!(collections(&jobs(&["0-9"]), &done(&["0-9"]), &collected, 8, true), []);
        let two = jobs(&["0-9", "0-4"]);
        assert_eq!(collections(&two, &done(&["0-9", "0-3"]), &Collected::default(), 8, true), [Collection::One(place(0), 10)]);
    }
}
