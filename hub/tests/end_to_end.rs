//! A whole run, from its registration to its deletion.

use serde_json::{Value, json};

use crate::{
    records::{bring, lines},
    rig::{Hub, Pod},
};

/// Registers a run of namespace `team` with two combos and two datapoints; `more` is put into its spec.
pub(crate) async fn register(hub: &Hub, name: &str, uid: &str, more: Value) {
    let mut spec = json!({
        "roles": [{"name": "solver", "models": ["model-a", "model-b"]}],
        "dataset": {"configMap": {"name": "questions", "key": "questions.jsonl"}},
        "template": {"spec": {"containers": [{"name": "agent", "image": "agent"}]}},
        "scoring": {"exact": {}},
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    let datapoints = json!([{"id": "q1", "input": "1+1?", "expected": "2"}, {"id": "q2", "input": {"a": 1}, "expected": "3"}]);
    let registration = json!({"uid": uid, "generation": 1, "spec": spec, "datapoints": datapoints});
    hub.operator().put(&format!("/v1/runs/team/{name}"), registration.to_string()).await.done();
}

const RUN: (&str, &str) = ("run", "run-uid");

async fn finish(hub: &Hub, combo: u64, index: u64, output: &str) {
    let pod = hub.pod(Pod::trial("team", RUN, combo, index));
    pod.get("/v1/trial").await.json();
    assert_eq!(bring(&pod, 1, lines(1, 2)).await.json()["sequence"], 2);
    pod.put("/v1/trial/output", output.to_owned()).await.done();
    let end = json!({"last_sequence": 2, "output": "present", "exit_code": 0, "wall_seconds": 1.5});
    pod.post("/v1/trial/end", end.to_string()).await.done();
    pod.post("/v1/trial/end", end.to_string()).await.done();
}

#[tokio::test]
async fn a_run_is_handed_out_recorded_scored_ranked_and_deleted() {
    let hub = Hub::start().await;
    let early = hub.pod(Pod::trial("team", RUN, 0, 0));
    let answered = early.get("/v1/trial").await;
    assert!(answered.error(503).contains("not registered"));
    assert!(answered.headers.contains_key("retry-after"));
    register(&hub, RUN.0, RUN.1, json!({})).await;
    let assignment = hub.pod(Pod::trial("team", RUN, 1, 1)).get("/v1/trial").await.json();
    assert_eq!((&assignment["data_id"], &assignment["input"]), (&json!("q2"), &json!(r#"{"a":1}"#)));
    assert_eq!(assignment["models"], json!({"solver": "model-b"}));
    assert!(!assignment.to_string().contains("expected"));
    for (combo, index, output) in [(0, 0, "2"), (0, 1, "3"), (1, 0, "2"), (1, 1, "wrong")] {
        finish(&hub, combo, index, output).await;
    }
    let jobs = json!([{"combo": 0, "chunk": 0, "succeeded": "0-1"}, {"combo": 1, "chunk": 0, "succeeded": "0-1"}]);
    let observation = json!({"uid": RUN.1, "jobs": jobs, "pods": []});
    let aggregate = hub.operator().post("/v1/runs/team/run/observe", observation.to_string()).await.json();
    assert_eq!(aggregate["finished"], 4, "{aggregate}");
    assert_eq!(aggregate["harvested"], json!([[0, 0, "0-1"], [1, 0, "0-1"]]));
    let reader = hub.reader("team");
    let results = reader.get("/v1/runs/team/run/results").await.json();
    assert_eq!(results["items"].as_array().unwrap().len(), 2);
    let calls = reader.get("/v1/runs/team/run/calls?combo_id=solver%3Dmodel-a&limit=3").await.json();
    assert_eq!(calls["items"].as_array().unwrap().len(), 3);
    let rest =
        reader.get(&format!("/v1/runs/team/run/calls?combo_id=solver%3Dmodel-a&cursor={}", calls["next"].as_str().unwrap())).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let newest = reader.get("/v1/runs/team/run/calls?combo_id=solver%3Dmodel-a&limit=2&newest_first=true").await.json();
    assert_eq!(newest["items"], json!([rest["items"][0], calls["items"][2]]));
    assert_eq!(reader.get("/v1/runs").await.json()["items"][0]["calls"], 8);
    assert!(hub.operator().delete("/v1/runs/team/run").await.error(400).contains("uid"));
    hub.operator().delete("/v1/runs/team/run?uid=run-uid").await.done();
    hub.operator().delete("/v1/runs/team/run?uid=run-uid").await.done();
    reader.get("/v1/runs/team/run").await.error(404);
    assert_eq!(reader.get("/v1/runs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_pod_writes_its_own_trial_alone() {
    let hub = Hub::start().await;
    register(&hub, RUN.0, RUN.1, json!({})).await;
    let pod = hub.pod(Pod::trial("team", RUN, 0, 1));
    let forged: Value = serde_json::from_str(&lines(1, 1)).unwrap();
    let mut forged = forged;
    for (key, value) in [("run", "other"), ("data_id", "q1"), ("combo_id", "solver=model-b")] {
        forged[key] = value.into();
    }
    assert_eq!(bring(&pod, 1, forged.to_string()).await.json()["sequence"], 1);
    let calls = |query: &str| {
        let (reader, path) = (hub.reader("team"), format!("/v1/runs/team/run/calls?{query}"));
        async move { reader.get(&path).await.json()["items"].as_array().unwrap().clone() }
    };
    let own = calls("data_id=q2&combo_id=solver%3Dmodel-a").await;
    assert_eq!((&own[0]["run"], &own[0]["data_id"], &own[0]["combo_id"]), (&json!("run"), &json!("q2"), &json!("solver=model-a")));
    assert_eq!(calls("data_id=q1").await, Vec::<Value>::new());
    let beyond = hub.pod(Pod::trial("team", RUN, 9, 0));
    assert!(beyond.get("/v1/trial").await.error(404).contains("no trial"));
}

#[tokio::test]
async fn outputs_are_scored_by_the_users_own_pod() {
    let hub = Hub::start().await;
    register(&hub, RUN.0, RUN.1, json!({"scoring": {"container": {"image": "scorer", "command": ["score"]}}})).await;
    for (combo, index) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        finish(&hub, combo, index, "output").await;
    }
    let scorer = hub.pod(Pod::scoring("team", RUN));
    let page = |after: i64| {
        let scorer = scorer.clone();
        async move {
            let answered = scorer.get(&format!("/v1/scoring/items?after={after}&limit=3")).await;
            let text = String::from_utf8(answered.body.to_vec()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        }
    };
    let first = page(-1).await;
    let second = page(first[2]["trial"].as_i64().unwrap()).await;
    assert_eq!((first.len(), second.len()), (3, 1));
    assert_eq!((&first[0]["output"], &first[0]["expected"]), (&json!("output"), &json!("2")));
    let score = |item: &Value| json!({"trial": item["trial"], "score": 0.5}).to_string();
    let bad = format!("{}\n\nnonsense\n", score(&first[0]));
    assert!(scorer.post("/v1/scoring/scores", bad).await.error(400).starts_with("reading line 3"));
    assert_eq!(page(-1).await.len(), 3);
    let all: Vec<String> = first.iter().chain(&second).map(score).collect();
    scorer.post("/v1/scoring/scores", all.join("\n")).await.done();
    assert_eq!(page(-1).await, Vec::<Value>::new());
}
