//! Looks at a world that goes on between them.

use proptest::prelude::*;

use super::*;

/// A Job controller and a hub that do what they are asked, in any order.
#[derive(Clone)]
struct World {
    jobs: BTreeMap<Place, JobView>,
    final_results: u64,
}

impl World {
    fn observed(&self, datapoints: u64, away: bool) -> Observed {
        let base = seen(&[], 0);
        let hub = if away {
            HubView::Away("away".into())
        } else {
            HubView::Told(Box::new(Aggregate { finished: self.final_results, ..Aggregate::default() }))
        };
        let dataset = DatasetView::Ready { datapoints, digest: "d".into() };
        Observed { jobs: self.jobs.clone(), hub, dataset, ..base }
    }

    fn apply(&mut self, plan: &Plan) {
        for object in &plan.create {
            let job: k8s_openapi::api::batch::v1::Job = serde_json::from_value(object.clone()).expect("a Job is made");
            let (place, mut view) = JobView::read(&job).expect("it is ours");
            view.uid = view.name.clone();
            self.jobs.insert(place, view);
        }
        for change in &plan.change {
            let view = self.jobs.values_mut().find(|job| job.name == change["metadata"]["name"]).expect("only what exists is changed");
            let window = Window {
                suspend: change["spec"]["suspend"] == true,
                parallelism: change["spec"]["parallelism"].as_u64().expect("a number"),
            };
            (view.suspended, view.parallelism) = (window.suspend, window.parallelism);
        }
    }

    fn at_once(&self) -> u64 {
        self.jobs.values().filter(|job| !job.suspended).map(|job| job.need().min(job.parallelism)).sum()
    }

    /// One trial of some running Job ends.
    fn end_one(&mut self, pick: usize) {
        let running: Vec<Place> = self.jobs.iter().filter(|(_, job)| !job.suspended && job.need() > 0).map(|(place, _)| *place).collect();
        if let Some(place) = running.get(pick % running.len().max(1)) {
            let job = self.jobs.get_mut(place).expect("it runs");
            let next = job.succeeded.count() + job.failed.count();
            if pick.is_multiple_of(3) {
                job.failed = job.failed.union(&Ranges::parse(&next.to_string()));
            } else {
                job.succeeded = job.succeeded.union(&Ranges::parse(&next.to_string()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_ends_stops_limits_and_absences_ends_complete(steps in proptest::collection::vec((0_u8..12, 0_usize..50, 1_i32..9), 1..120)) {
        let mut run = run(json!({"samples": 2}), 5);
        run.status = Value::Null;
        let mut world = World { jobs: BTreeMap::new(), final_results: 0 };
        for (kind, pick, limit) in steps {
            match kind {
                0 => run.spec.as_mut().expect("readable").suspend ^= true,
                1 => run.spec.as_mut().expect("readable").limits.parallelism = limit,
                2 => { world.jobs.pop_first(); }
                _ => world.end_one(pick),
            }
            world.final_results = world.jobs.values().map(|job| job.succeeded.count() + job.failed.count()).sum();
            let plan = decide(&run, &world.observed(5, kind == 3));
            world.apply(&plan);
            let spec = run.spec.as_ref().expect("readable");
            if kind != 3 {
                prop_assert!(world.at_once() <= if spec.suspend { 0 } else { spec.limits.parallelism as u64 }, "{} at once", world.at_once());
            }
            run.status = plan.status;
            if run.status["phase"] == "Complete" { return Ok(()); }
        }
        run.spec.as_mut().expect("readable").suspend = false;
        for pick in 0..200 {
            world.final_results = world.jobs.values().map(|job| job.succeeded.count() + job.failed.count()).sum();
            let plan = decide(&run, &world.observed(5, false));
            world.apply(&plan);
            run.status = plan.status;
            world.end_one(pick);
        }
        prop_assert_eq!(run.status["phase"].as_str(), Some("Complete"), "{:?}", world.jobs);
    }
}

#[test]
fn a_look_at_a_hundred_thousand_trials_makes_no_more_jobs_than_run() {
    let run = run(json!({"limits": {"parallelism": 500, "retries": 2}}), 50_000);
    let mut observed = seen(&[], 0);
    observed.dataset = DatasetView::Ready { datapoints: 50_000, digest: "d".into() };
    let plan = decide(&run, &observed);
    assert_eq!((plan.create.len(), plan.create[0]["spec"]["completions"].as_u64()), (1, Some(CHUNK)));
}
