//! The window: which Jobs run, and how much of each, under the run's limit of trials at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::objects::job::{Grid, JobView, Place, Window};
use crate::ranges::Ranges;

/// The most Jobs made at one look: the next look makes more.
const CREATED_AT_ONCE: usize = 50;

/// Who decides whether Jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// We do: what fits runs.
    Run,
    /// Nothing runs.
    Stop,
    /// Everything stays as it is.
    Hold,
    /// Kueue does: Jobs are made suspended, as many as fit, and not changed after.
    Queue,
}

/// A change of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Make it.
    Create(Place, Window),
    /// Change it.
    Set(Place, Window),
}

/// The changes that bring the Jobs into the window. `done` are trials with a final result, by their first Job; `again` the Jobs to make for trials
/// that were lost, with these.
///
/// Jobs get their share in order, each as much as it still needs. A Job that needs less than its parallelism allows is left alone, as
/// Kubernetes starts no more pods than indexes are left. What is left over is given on in steps of a tenth of the limit, so that the end
/// of a large Job does not write to the next one for every trial.
pub fn moves(
    grid: Grid,
    jobs: &BTreeMap<Place, JobView>,
    done: &BTreeMap<Place, Ranges>,
    again: &BTreeMap<Place, Ranges>,
    limit: u64,
    mode: Mode,
) -> Vec<Move> {
    match mode {
        Mode::Hold => Vec::new(),
        Mode::Stop => stop(jobs),
        Mode::Run | Mode::Queue => {
            // How many trials a Job would have that is not there; none where all of them are known.
            let missing = |place: Place| match again.get(&place) {
                Some(cells) => cells.count(),
                None => {
                    let completions = grid.completions(place.chunk);
                    if done.get(&place).is_some_and(|done| done.count() >= completions) { 0 } else { completions }
                }
            };
            let later = jobs.keys().chain(again.keys()).filter(|place| place.round > 0).copied();
            let places: BTreeSet<Place> = grid.places().chain(later).collect();
            share(&places, jobs, missing, limit, mode)
        }
    }
}

/// The changes after which nothing runs.
pub fn stop(jobs: &BTreeMap<Place, JobView>) -> Vec<Move> {
    let running = jobs.iter().filter(|(_, job)| !job.suspended && !job.deleting && job.need() > 0);
    running.map(|(place, job)| Move::Set(*place, Window { suspend: true, parallelism: job.parallelism })).collect()
}

fn share(places: &BTreeSet<Place>, jobs: &BTreeMap<Place, JobView>, missing: impl Fn(Place) -> u64, limit: u64, mode: Mode) -> Vec<Move> {
    let mut moves = Vec::new();
    let mut created = 0;
    let mut left = limit;
    let step = (limit / 10).max(1);
    for place in places.iter().copied() {
        match jobs.get(&place) {
            // Its pods may still run: their share is not given away twice.
            Some(job) if job.deleting => left = left.saturating_sub(job.active),
            Some(job) if mode == Mode::Queue => left = left.saturating_sub(job.need().min(job.parallelism)),
            Some(job) => {
                let want = job.need().min(left);
                left -= want;
                moves.extend(adjusted(job, want, step).map(|window| Move::Set(place, window)));
            }
            None if left > 0 && created < CREATED_AT_ONCE => {
                let parallelism = missing(place).min(left);
                if parallelism > 0 {
                    left -= parallelism;
                    created += 1;
                    moves.push(Move::Create(place, Window { suspend: mode == Mode::Queue, parallelism }));
                }
            }
            None => {}
        }
    }
    moves
}

/// How a Job changes to run `want` of the trials it needs; `None` where it stays as it is.
fn adjusted(job: &JobView, want: u64, step: u64) -> Option<Window> {
    let need = job.need();
    if need == 0 {
        return None;
    }
    if want == 0 {
        return (!job.suspended).then_some(Window { suspend: true, parallelism: job.parallelism });
    }
    let runs = Window { suspend: false, parallelism: want };
    if job.suspended || job.parallelism == 0 {
        return Some(runs);
    }
    let has = job.parallelism.min(need);
    let too_much = has > want;
    let worth_it = want > has && (want - has >= step || want == need);
    (too_much || worth_it).then_some(runs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: BTreeMap<Place, Ranges> = BTreeMap::new();

    fn place(chunk: u64, combo: u64) -> Place {
        Place::first(chunk, combo)
    }

    fn job(completions: u64, ended: u64, parallelism: u64, suspended: bool) -> JobView {
        let succeeded = if ended == 0 { Ranges::default() } else { Ranges::parse(&format!("0-{}", ended - 1)) };
        JobView { completions, succeeded, parallelism, suspended, ..JobView::default() }
    }

    fn runs(parallelism: u64) -> Window {
        Window { suspend: false, parallelism }
    }

    #[test]
    fn jobs_are_made_as_they_fit() {
        let grid = Grid { combos: 4, cells: 10 };
        let made = moves(grid, &BTreeMap::new(), &NONE, &NONE, 24, Mode::Run);
        assert_eq!(made, [Move::Create(place(0, 0), runs(10)), Move::Create(place(0, 1), runs(10)), Move::Create(place(0, 2), runs(4))]);
        let held = moves(grid, &BTreeMap::new(), &NONE, &NONE, 15, Mode::Queue);
        let suspended = |parallelism| Window { suspend: true, parallelism };
        assert_eq!(held, [Move::Create(place(0, 0), suspended(10)), Move::Create(place(0, 1), suspended(5))]);
        for mode in [Mode::Stop, Mode::Hold] {
            assert_eq!(moves(grid, &BTreeMap::new(), &NONE, &NONE, 24, mode), []);
        }
    }

    #[test]
    fn the_end_of_a_job_makes_room_for_the_next_and_is_not_written() {
        let grid = Grid { combos: 2, cells: 10 };
        let jobs = BTreeMap::from([(place(0, 0), job(10, 7, 8, false))]);
        assert_eq!(moves(grid, &jobs, &NONE, &NONE, 8, Mode::Run), [Move::Create(place(0, 1), runs(5))]);
    }

    #[test]
    fn what_is_left_is_given_on_in_steps() {
        let grid = Grid { combos: 2, cells: 1000 };
        let jobs = |ended| BTreeMap::from([(place(0, 0), job(1000, ended, 100, false)), (place(0, 1), job(1000, 0, 40, false))]);
        assert_eq!(moves(grid, &jobs(945), &NONE, &NONE, 100, Mode::Run), []);
        assert_eq!(moves(grid, &jobs(950), &NONE, &NONE, 100, Mode::Run), [Move::Set(place(0, 1), runs(50))]);
        assert_eq!(moves(grid, &jobs(1000), &NONE, &NONE, 100, Mode::Run), [Move::Set(place(0, 1), runs(100))]);
    }

    #[test]
    fn a_lower_limit_takes_from_the_last_and_a_higher_one_gives() {
        let grid = Grid { combos: 2, cells: 10 };
        let jobs = BTreeMap::from([(place(0, 0), job(10, 5, 8, false)), (place(0, 1), job(10, 0, 3, false))]);
        let kept = Window { suspend: true, parallelism: 3 };
        assert_eq!(moves(grid, &jobs, &NONE, &NONE, 4, Mode::Run), [Move::Set(place(0, 0), runs(4)), Move::Set(place(0, 1), kept)]);
        assert_eq!(moves(grid, &jobs, &NONE, &NONE, 15, Mode::Run), [Move::Set(place(0, 1), runs(10))]);
    }

    #[test]
    fn a_stop_keeps_the_parallelism_and_a_restart_uses_it() {
        let grid = Grid { combos: 2, cells: 10 };
        let going = BTreeMap::from([(place(0, 0), job(10, 5, 8, false)), (place(0, 1), job(10, 10, 3, false))]);
        assert_eq!(moves(grid, &going, &NONE, &NONE, 8, Mode::Stop), [Move::Set(place(0, 0), Window { suspend: true, parallelism: 8 })]);
        let stopped = BTreeMap::from([(place(0, 0), job(10, 5, 8, true)), (place(0, 1), job(10, 10, 3, false))]);
        assert_eq!(moves(grid, &stopped, &NONE, &NONE, 8, Mode::Stop), []);
        assert_eq!(moves(grid, &stopped, &NONE, &NONE, 8, Mode::Run), [Move::Set(place(0, 0), runs(5))]);
    }

    #[test]
    fn a_job_that_is_gone_is_made_again_unless_all_its_trials_are_known() {
        let grid = Grid { combos: 1, cells: 10 };
        let done = |text| BTreeMap::from([(place(0, 0), Ranges::parse(text))]);
        assert_eq!(moves(grid, &BTreeMap::new(), &done("0-8"), &NONE, 4, Mode::Run), [Move::Create(place(0, 0), runs(4))]);
        assert_eq!(moves(grid, &BTreeMap::new(), &done("0-9"), &NONE, 4, Mode::Run), []);
    }

    #[test]
    fn trials_that_were_lost_have_their_share_before_the_next_chunk() {
        let grid = Grid { combos: 1, cells: 2 * agentrun_protocol::run::CHUNK };
        let over = JobView { succeeded: Ranges::below(5000), ..job(5000, 0, 8, false) };
        let again = Place { round: 1, ..place(0, 0) };
        let wanted = BTreeMap::from([(again, Ranges::parse("3,7"))]);
        let made = moves(grid, &BTreeMap::from([(place(0, 0), over.clone())]), &NONE, &wanted, 8, Mode::Run);
        assert_eq!(made, [Move::Create(again, runs(2)), Move::Create(place(1, 0), runs(6))]);
        let jobs = BTreeMap::from([(place(0, 0), over), (again, job(2, 0, 2, false)), (place(1, 0), job(5000, 0, 6, false))]);
        assert_eq!(moves(grid, &jobs, &NONE, &NONE, 8, Mode::Run), []);
        let stopped = Window { suspend: true, parallelism: 2 };
        assert!(moves(grid, &jobs, &NONE, &NONE, 8, Mode::Stop).contains(&Move::Set(again, stopped)));
    }

    /// Jobs in any state, as a crash or a user's hand may leave them.
    fn any_jobs() -> impl Strategy<Value = (Grid, BTreeMap<Place, JobView>)> {
        let one = proptest::option::of((0_u64..=20, 0_u64..40, any::<bool>(), any::<bool>()));
        (1_u64..6, proptest::collection::vec(one, 6)).prop_map(|(combos, states)| {
            let jobs = (0..combos).zip(states).filter_map(|(combo, state)| {
                let (ended, parallelism, suspended, deleting) = state?;
                let mut view = job(20, ended, parallelism, suspended);
                view.deleting = deleting && ended > 15;
                view.active = if suspended { 0 } else { view.need().min(parallelism) };
                Some((place(0, combo), view))
            });
            (Grid { combos, cells: 20 }, jobs.collect())
        })
    }

    fn applied(grid: Grid, jobs: &BTreeMap<Place, JobView>, moves: &[Move]) -> BTreeMap<Place, JobView> {
        let mut jobs = jobs.clone();
        for change in moves {
            match change {
                Move::Create(place, window) => {
                    jobs.insert(*place, job(grid.completions(place.chunk), 0, window.parallelism, window.suspend));
                }
                Move::Set(place, window) => {
                    let view = jobs.get_mut(place).expect("only what exists is changed");
                    (view.suspended, view.parallelism) = (window.suspend, window.parallelism);
                }
            }
        }
        jobs
    }

    fn at_once(jobs: &BTreeMap<Place, JobView>) -> u64 {
        let running = jobs.values().filter(|job| !job.suspended && !job.deleting);
        running.map(|job| job.need().min(job.parallelism)).sum()
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_a_second_look_changes_nothing((grid, jobs) in any_jobs(), limit in 1_u64..60) {
            let after = applied(grid, &jobs, &moves(grid, &jobs, &NONE, &NONE, limit, Mode::Run));
            prop_assert!(at_once(&after) <= limit, "{} run under a limit of {limit}: {after:?}", at_once(&after));
            prop_assert_eq!(moves(grid, &after, &NONE, &NONE, limit, Mode::Run), []);
            let stopped = applied(grid, &after, &moves(grid, &after, &NONE, &NONE, limit, Mode::Stop));
            prop_assert_eq!(at_once(&stopped), 0);
        }

        #[test]
        fn any_order_of_ends_finishes_every_trial(ends in proptest::collection::vec(0_usize..8, 400), limit in 1_u64..30) {
            let grid = Grid { combos: 3, cells: 20 };
            let mut jobs = BTreeMap::new();
            for pick in ends {
                jobs = applied(grid, &jobs, &moves(grid, &jobs, &NONE, &NONE, limit, Mode::Run));
                prop_assert!(at_once(&jobs) <= limit);
                let running: Vec<Place> = jobs.iter().filter(|(_, job)| !job.suspended && job.need() > 0).map(|(place, _)| *place).collect();
                let Some(place) = running.get(pick % running.len().max(1)) else { break };
                let job = jobs.get_mut(place).expect("it runs");
                job.succeeded = Ranges::parse(&format!("0-{}", job.succeeded.count()));
            }
            prop_assert!(jobs.len() == 3 && jobs.values().all(|job| job.need() == 0), "{jobs:?}");
        }
    }
}
