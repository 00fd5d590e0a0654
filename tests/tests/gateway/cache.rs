//! The gateway's answers: whose they are, and that they can be forgotten.

use agentrun_tests::gateway::Rig;
use agentrun_tests::wire::Answer;
use serde_json::json;

fn is_hit(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.header("x-agentrun-cache") == Some("hit")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_share_answers_with_those_who_show_the_same_credential() {
    let rig = Rig::start().await;
    let (one, other) = (rig.open(&json!({})).await, rig.open(&json!({})).await);
    let (alice, bob) = ("authorization: Bearer alice\r\n", "authorization: Bearer bob\r\n");
    assert!(!is_hit(&one.ask_as(alice, "m", "x").await));
    assert!(is_hit(&other.ask_as(alice, "m", "x").await));
    assert!(!is_hit(&other.ask_as(bob, "m", "x").await));
    assert!(!is_hit(&one.ask("m", "x").await));
    assert_eq!(rig.origin.log().calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_answers_are_forgotten_on_request() {
    let rig = Rig::start().await;
    let session = rig.open(&json!({})).await;
    assert!(!is_hit(&session.ask("m", "x").await));
    assert!(is_hit(&session.ask("m", "x").await));
    assert_eq!(rig.send("POST /cache/clear", "", b"").await.status, 204);
    assert!(!is_hit(&session.ask("m", "x").await));
    assert!(is_hit(&session.ask("m", "x").await));
    assert_eq!(rig.send("GET /cache/clear", "", b"").await.status, 405);
}
