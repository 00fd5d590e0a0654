//! The shared cache over HTTP: equal calls of many pods are one upstream call, and namespaces are kept apart.

use std::time::Duration;

use agentrun_protocol::lease::{LANDED_HEADER, LEASE_HEADER};
use serde_json::json;

use crate::rig::{Answered, Client, Hub, Pod};

/// The path of a key, with what is asked.
fn path(query: &str) -> String {
    format!("/v1/cache/{}{query}", "ab".repeat(32))
}

fn leads(answered: &Answered) -> bool {
    answered.status == 404 && answered.headers.get(LEASE_HEADER).is_some_and(|value| value == "leader")
}

fn pods(hub: &Hub, namespace: &str, count: usize) -> Vec<Client> {
    (0..count).map(|number| hub.pod(Pod::foreign(namespace, "run", &format!("pod-{number}")))).collect()
}

#[tokio::test]
async fn two_hundred_equal_calls_at_once_are_one() {
    let hub = Hub::start().await;
    let asked = pods(&hub, "team", 200).into_iter().map(|pod| async move {
        let answered = pod.get(&path("?lease=a&wait=20")).await;
        if leads(&answered) {
            pod.put(&path("?lease=a"), "answer").await.done();
            return true;
        }
        assert_eq!((answered.status.as_u16(), &answered.body[..]), (200, &b"answer"[..]));
        assert!(!answered.headers.contains_key(LANDED_HEADER));
        false
    });
    let leaders = futures::future::join_all(asked).await.into_iter().filter(|led| *led).count();
    assert_eq!(leaders, 1);
}

#[tokio::test]
async fn a_stored_answer_is_found_by_its_own_namespace_alone() {
    let hub = Hub::start().await;
    let [first, same, other] =
        [("team", "one"), ("team", "two"), ("other", "one")].map(|(namespace, name)| hub.pod(Pod::foreign(namespace, "run", name)));
    assert_eq!(first.get(&path("")).await.status, 404);
    first.put(&path(""), "answer").await.done();
    assert_eq!(same.get(&path("?lease=a&wait=1")).await.body, "answer");
    let missed = other.get(&path("?lease=a&wait=1")).await;
    assert!(leads(&missed), "{missed:?}");
    // A leader of one namespace holds up none of another.
    other.put(&path("?lease=a"), "another answer").await.done();
    assert_eq!(same.get(&path("")).await.body, "answer");
}

#[tokio::test]
async fn runs_share_only_what_their_scope_says() {
    let hub = Hub::start().await;
    for (name, uid) in [("one", "uid-1"), ("two", "uid-2")] {
        crate::end_to_end::register(&hub, name, uid, json!({})).await;
    }
    let [first, second] = [("one", "uid-1"), ("two", "uid-2")].map(|run| hub.pod(Pod::trial("team", run, 0, 0)));
    first.put(&path(""), "answer").await.done();
    assert_eq!(first.get(&path("")).await.body, "answer");
    assert_eq!(second.get(&path("")).await.status, 404);
    for (name, uid) in [("three", "uid-3"), ("four", "uid-4")] {
        crate::end_to_end::register(&hub, name, uid, json!({"cache": {"scope": "Namespace"}})).await;
    }
    let [third, fourth] = [("three", "uid-3"), ("four", "uid-4")].map(|run| hub.pod(Pod::trial("team", run, 0, 0)));
    third.put(&path(""), "shared").await.done();
    assert_eq!(fourth.get(&path("")).await.body, "shared");
}

#[tokio::test]
async fn an_error_is_handed_to_those_that_waited_and_not_stored() {
    let hub = Hub::start().await;
    let pods = pods(&hub, "team", 3);
    assert!(leads(&pods[0].get(&path("?lease=a&wait=20")).await));
    let waiting = path("?lease=a&wait=20");
    let following = pods[1].get(&waiting);
    let landing = async {
        wait_until_undecided_is_known(&hub).await;
        pods[0].put(&path("?lease=a&keep=false"), "error").await.done();
    };
    let (followed, ()) = tokio::join!(following, landing);
    assert_eq!((followed.status.as_u16(), &followed.body[..]), (200, &b"error"[..]));
    assert_eq!(followed.headers[LANDED_HEADER], "true");
    assert!(leads(&pods[2].get(&path("?lease=a&wait=1")).await));
}

/// Returns once somebody waits: the hub then has a connection more than there were.
async fn wait_until_undecided_is_known(hub: &Hub) {
    // A follower that came too late would lead, which the test would see.
    let probe = hub.pod(Pod::foreign("team", "run", "probe"));
    assert_eq!(probe.get(&path("?lease=probe&wait=0.3")).await.status, 202);
}

#[tokio::test]
async fn a_leader_that_gives_up_is_followed_by_one_or_by_none() {
    let hub = Hub::start().await;
    let pods = pods(&hub, "team", 2);
    for alone in [false, true] {
        assert!(leads(&pods[0].get(&path("?lease=a&wait=20")).await));
        let waiting = path("?lease=a&wait=20");
        let following = pods[1].get(&waiting);
        let giving_up = async {
            wait_until_undecided_is_known(&hub).await;
            pods[0].delete(&path(&format!("?lease=a&alone={alone}"))).await.done();
        };
        let (followed, ()) = tokio::join!(following, giving_up);
        assert_eq!(followed.status, 404);
        assert_eq!(leads(&followed), !alone);
        pods[1].delete(&path("?lease=a")).await.done();
    }
}

#[tokio::test]
async fn a_leader_that_is_lost_is_followed_by_exactly_one() {
    let hub = Hub::with(|settings| settings.leases.length = Duration::from_secs(3)).await;
    let pods = pods(&hub, "team", 20);
    assert!(leads(&pods[0].get(&path("?lease=a&wait=20")).await));
    let asked = pods[1..].iter().map(|pod| async move {
        let answered = pod.get(&path("?lease=a&wait=20")).await;
        if leads(&answered) {
            pod.put(&path("?lease=a"), "answer").await.done();
            return true;
        }
        assert_eq!(answered.body, "answer");
        false
    });
    let leaders = futures::future::join_all(asked).await.into_iter().filter(|led| *led).count();
    assert_eq!(leaders, 1);
}

#[tokio::test]
async fn after_a_restart_the_leader_of_before_leads_on() {
    let hub = Hub::start().await;
    let leader = Pod::foreign("team", "run", "leader");
    assert!(leads(&hub.pod(leader.clone()).get(&path("?lease=a&wait=20")).await));
    let hub = hub.restart(Duration::from_secs(4)).await;
    let (leader, follower) = (hub.pod(leader), hub.pod(Pod::foreign("team", "run", "follower")));
    assert_eq!(follower.get(&path("?lease=b&wait=0.1")).await.status, 202);
    let renewal = json!({"leases": [["ab".repeat(32), "a"], ["nonsense", "a"]]});
    assert_eq!(leader.post("/v1/leases", renewal.to_string()).await.json(), json!({"lost": ["nonsense"]}));
    // The grace ends while the follower waits, and the lease goes on.
    let waiting = path("?lease=b&wait=20");
    let following = follower.get(&waiting);
    let answering = async {
        assert_eq!(follower.get(&path("?lease=c&wait=5")).await.status, 202);
        leader.put(&path("?lease=a"), "answer").await.done();
    };
    let (followed, ()) = tokio::join!(following, answering);
    assert_eq!(followed.body, "answer");
}

#[tokio::test]
async fn what_is_of_no_use_is_refused() {
    let hub = Hub::start().await;
    let pod = hub.pod(Pod::foreign("team", "run", "pod"));
    assert!(pod.get("/v1/cache/zz").await.error(400).contains("64 hexadecimal digits"));
    assert!(pod.get(&path("?lease=")).await.error(400).contains("lease"));
    assert!(pod.get(&path(&format!("?lease={}", "x".repeat(129)))).await.error(400).contains("lease"));
    for wait in ["-1", "NaN", "x", "1e300"] {
        assert!(pod.get(&path(&format!("?lease=a&wait={wait}"))).await.error(400).contains("wait"), "{wait}");
    }
    assert!(pod.delete(&path("")).await.error(400).contains("lease"));
    assert!(pod.put(&path(""), vec![b'x'; (8 << 20) + 1]).await.error(413).contains("8388608"));
    assert!(pod.post("/v1/leases", "{").await.error(400).contains("reading the body"));
}
