use std::{collections::HashMap, sync::Arc, time::Duration};

use agentrun_protocol::lease::{LEASE_SECONDS, Renewal};
use bytes::Bytes;
use proptest::prelude::*;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    Bounds, Claimed, Ended, Holder, LeaseError, Leases,
    table::{Claim, Table},
};

const LONG: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(LEASE_SECONDS);

fn holder(pod: &str, id: &str) -> Holder {
    Holder { pod: pod.to_owned(), id: id.to_owned() }
}

/// Leases of a hub that has been up for longer than the grace.
fn settled(bounds: Bounds) -> Arc<Leases<&'static str>> {
    Arc::new(Leases::new(bounds, Instant::now()))
}

type Following = Vec<JoinHandle<Result<Claimed, LeaseError>>>;

/// Claims of `count` pods, all of which wait when this returns.
async fn follow(leases: &Arc<Leases<&'static str>>, count: usize, wait: Duration) -> Following {
    let spawn = |number: usize| {
        let leases = leases.clone();
        tokio::spawn(async move { leases.claim(&"key", &holder(&format!("pod-{number}"), "a"), wait).await })
    };
    let following = (0..count).map(spawn).collect();
    let room = Bounds::default().waiting;
    while leases.waiting.available_permits() > room - count {
        tokio::task::yield_now().await;
    }
    following
}

async fn outcomes(following: Following) -> Vec<Claimed> {
    let mut outcomes = Vec::new();
    for follower in following {
        outcomes.push(follower.await.unwrap().unwrap());
    }
    outcomes
}

fn count(outcomes: &[Claimed], wanted: fn(&Claimed) -> bool) -> usize {
    outcomes.iter().filter(|claimed| wanted(claimed)).count()
}

#[tokio::test]
async fn one_of_many_leads_and_all_get_its_answer() {
    let leases = settled(Bounds::default());
    let leader = holder("leader", "a");
    assert!(matches!(leases.claim(&"key", &leader, LONG).await, Ok(Claimed::Leads)));
    let following = follow(&leases, 199, LONG).await;
    leases.answer(&"key", Some(&leader), &Bytes::from_static(b"answer"), true);
    let outcomes = outcomes(following).await;
    assert_eq!(count(&outcomes, |claimed| matches!(claimed, Claimed::Answered { answer, kept: true } if answer == "answer")), 199);
    assert_eq!(leases.count(), 0);
}

#[tokio::test]
async fn exactly_one_follower_leads_when_the_leader_is_lost() {
    let leases = settled(Bounds { length: Duration::from_secs(1), ..Bounds::default() });
    leases.claim(&"key", &holder("lost", "a"), LONG).await.unwrap();
    let following = follow(&leases, 50, LONG).await;
    // Whoever leads answers at once, so that the others hear of it before this lease could be lost, too.
    let (first, _, others) = futures::future::select_all(following).await;
    assert!(matches!(first.unwrap(), Ok(Claimed::Leads)));
    leases.answer(&"key", None, &Bytes::from_static(b"answer"), true);
    assert_eq!(count(&outcomes(others).await, |claimed| matches!(claimed, Claimed::Answered { kept: true, .. })), 49);
}

#[tokio::test]
async fn giving_up_lets_one_lead_and_alone_lets_all_ask() {
    for alone in [false, true] {
        let leases = settled(Bounds::default());
        let leader = holder("leader", "a");
        leases.claim(&"key", &leader, LONG).await.unwrap();
        let mut following = follow(&leases, 10, LONG).await;
        leases.give_up(&"key", &leader, alone);
        if alone {
            assert_eq!(count(&outcomes(following).await, |claimed| matches!(claimed, Claimed::Alone)), 10);
            continue;
        }
        // Each in turn leads and gives up: all of them get to.
        for _ in 0..10 {
            let (ended, _, others) = futures::future::select_all(following).await;
            assert!(matches!(ended.unwrap(), Ok(Claimed::Leads)));
            assert_eq!(leases.count(), 1);
            for number in 0..10 {
                leases.give_up(&"key", &holder(&format!("pod-{number}"), "a"), false);
            }
            following = others;
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_stored_reaches_those_that_waited_and_nobody_after() {
    let leases = settled(Bounds::default());
    let leader = holder("leader", "a");
    leases.claim(&"key", &leader, LONG).await.unwrap();
    let following = follow(&leases, 3, LONG).await;
    leases.answer(&"key", Some(&leader), &Bytes::from_static(b"error"), false);
    let outcomes = outcomes(following).await;
    assert_eq!(count(&outcomes, |claimed| matches!(claimed, Claimed::Answered { kept: false, .. })), 3);
    assert!(matches!(leases.claim(&"key", &holder("later", "a"), LONG).await, Ok(Claimed::Leads)));
}

#[tokio::test]
async fn a_lease_is_its_own_pods_alone() {
    let leases = settled(Bounds::default());
    leases.claim(&"key", &holder("leader", "a"), LONG).await.unwrap();
    let renewal = |key: &str, id: &str| Renewal { leases: vec![(key.into(), id.into())] };
    let key_of = |text: &str| (text == "key").then_some("key");
    assert_eq!(leases.renew("leader", renewal("key", "a"), key_of), Vec::<String>::new());
    assert_eq!(leases.renew("leader", renewal("key", "b"), key_of), ["key"]);
    assert_eq!(leases.renew("thief", renewal("key", "a"), key_of), ["key"]);
    assert_eq!(leases.renew("leader", renewal("nonsense", "a"), key_of), ["nonsense"]);
    leases.give_up(&"key", &holder("thief", "a"), true);
    leases.answer(&"key", Some(&holder("thief", "a")), &Bytes::from_static(b"no"), false);
    assert!(matches!(leases.claim(&"key", &holder("thief", "a"), Duration::ZERO).await, Ok(Claimed::Undecided)));
}

#[test]
fn a_renewed_lease_lives_on_and_one_that_is_not_is_taken() {
    let start = Instant::now();
    let mut table = Table::new(Bounds::default(), start);
    let (leader, other) = (holder("leader", "a"), holder("other", "a"));
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(matches!(table.claim(&"key", &leader, at(0)), Ok(Claim::Leads)));
    for seconds in [2, 4, 6, 8] {
        assert!(table.renew(&"key", &leader, at(seconds)));
    }
    assert!(matches!(table.claim(&"key", &other, at(13)), Ok(Claim::Follows { until, .. }) if until == at(14)));
    assert!(matches!(table.claim(&"key", &other, at(14)), Ok(Claim::Leads)));
    assert!(!table.renew(&"key", &leader, at(14)));
    // Late, but nobody wanted it meanwhile.
    assert!(table.renew(&"key", &other, at(21)));
}

#[test]
fn after_a_restart_the_leader_of_before_renews_and_nobody_else_leads() {
    let start = Instant::now();
    let mut table = Table::new(Bounds::default(), start + LEASE);
    let (leader, other) = (holder("leader", "a"), holder("other", "a"));
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(matches!(table.claim(&"led", &other, at(0)), Ok(Claim::Grace { until }) if until == at(6)));
    assert!(table.renew(&"led", &leader, at(2)));
    assert!(!table.renew(&"led", &other, at(3)));
    assert!(matches!(table.claim(&"led", &other, at(6)), Ok(Claim::Follows { .. })));
    assert!(matches!(table.claim(&"other", &other, at(6)), Ok(Claim::Leads)));
    assert!(!table.renew(&"third", &leader, at(6)), "the grace is over, and the hub never gave this lease");
}

#[tokio::test]
async fn what_is_held_is_bounded() {
    let leases = settled(Bounds { leases: 3, leases_of_a_pod: 2, waiting: 0, ..Bounds::default() });
    for key in ["1", "2"] {
        leases.claim(&key, &holder("pod", key), LONG).await.unwrap();
    }
    assert_eq!(leases.claim(&"3", &holder("pod", "3"), LONG).await.unwrap_err(), LeaseError::PodFull);
    leases.claim(&"3", &holder("other", "3"), LONG).await.unwrap();
    assert_eq!(leases.claim(&"4", &holder("third", "4"), LONG).await.unwrap_err(), LeaseError::Full);
    assert_eq!(leases.claim(&"1", &holder("third", "1"), LONG).await.unwrap_err(), LeaseError::WaitingFull);
    leases.answer(&"1", None, &Bytes::new(), true);
    leases.claim(&"5", &holder("pod", "5"), LONG).await.unwrap();
    leases.table().sweep(Instant::now() + LEASE * 2);
    assert_eq!(leases.count(), 0);
    leases.claim(&"6", &holder("pod", "6"), LONG).await.unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Claim(usize),
    Renew(usize),
    End(usize, Option<bool>),
    Sweep,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let pod = 0..4_usize;
    prop_oneof![
        4 => pod.clone().prop_map(Step::Claim),
        2 => pod.clone().prop_map(Step::Renew),
        1 => (pod, any::<Option<bool>>()).prop_map(|(pod, kept)| Step::End(pod, kept)),
        1 => Just(Step::Sweep),
        3 => (0..9_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// A pod leads from the moment it is told so until it ends the lease, is told that it is lost, or has not renewed it for its length.
    #[test]
    fn at_most_one_leads(steps in prop::collection::vec(step(), 1..80), grace in any::<bool>()) {
        let start = Instant::now();
        let mut now = start;
        let mut table = Table::new(Bounds::default(), if grace { start + LEASE } else { start });
        let mut leads: HashMap<usize, Instant> = HashMap::new();
        let name = |pod: usize| holder(&format!("pod-{pod}"), "a");
        for step in steps {
            match step {
                Step::Claim(pod) => match table.claim(&"key", &name(pod), now).unwrap() {
                    Claim::Leads => drop(leads.insert(pod, now + LEASE)),
                    Claim::Follows { .. } | Claim::Grace { .. } => drop(leads.remove(&pod)),
                },
                Step::Renew(pod) if table.renew(&"key", &name(pod), now) => drop(leads.insert(pod, now + LEASE)),
                Step::Renew(pod) => {
                    let until = leads.remove(&pod);
                    prop_assert!(until.is_none_or(|until| until <= now), "a live lease was lost");
                }
                Step::End(pod, kept) if table.is_held_by(&"key", &name(pod)) => {
                    let answer = kept.map(|kept| Ended::Answered { answer: Bytes::new(), kept });
                    table.end(&"key", answer.unwrap_or(Ended::Vacant));
                    leads.remove(&pod);
                }
                Step::End(..) => {}
                Step::Sweep => table.sweep(now),
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
            }
            let live = leads.values().filter(|until| now < **until).count();
            prop_assert!(live <= 1, "{live} lead at once");
        }
    }
}
