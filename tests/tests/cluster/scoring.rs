//! `scoring.container`: outputs are scored by a program of the user's, in an image of the user's, as a pod of the run's namespace.

use agentrun_tests::cluster::{Cluster, Namespace, PYTHON, Provider, agent_pod_spec, agent_run, with_namespace};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// Right answers count 1, others 0.25; a pod that lets it reach a token scores nothing.
const SCORER: &str = r#"
import json, os, sys
assert not os.path.exists("/var/run/secrets"), "a token is in reach"
print("a word on stderr is no answer", file=sys.stderr)
for line in sys.stdin:
    question = json.loads(line)
    right = question["output"].strip() == question["expected"]
    print(json.dumps({"score": 1.0 if right else 0.25, "reason": "of " + question["input"]}))
"#;

/// A run of two models, of which the first is right.
async fn scored_by(space: &Namespace, name: &str, questions: &[&str], scorer: Value) {
    let rule = |model: &str, text: &str| Rule {
        model: Some(model.to_owned()),
        contains: vec![format!("{name}: ")],
        text: Some(text.to_owned()),
        ..Rule::default()
    };
    Provider(Cluster::get()).rules(name, &[rule("gpt-4.1", "right"), rule("gpt-4.1-mini", "wrong")]).await;
    let pod = agent_pod_spec(PYTHON, &["python3", "/tests/misbehave.py", "answer"]);
    let mut run = agent_run(name, &["gpt-4.1-mini", "gpt-4.1"], questions, pod);
    run["spec"]["scoring"] = json!({"container": scorer});
    for item in run["spec"]["dataset"]["items"].as_array_mut().into_iter().flatten() {
        item["expected"] = json!("right");
    }
    space.create(&run).await;
}

#[tokio::test]
async fn the_users_own_program_scores_every_output() {
    with_namespace("scoring", async |space| {
        let questions = ["scored: a", "scored: b", "scored: c"];
        scored_by(&space, "scored", &questions, json!({"image": PYTHON, "command": ["python3", "-c", SCORER]})).await;
        let ended = space.run_ends("scored").await;
        let status = &ended["status"];
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &6.into()), "{status:#}");
        let results: Vec<_> =
            status["results"].as_array().into_iter().flatten().map(|result| (&result["combo"], &result["score"])).collect();
        let expected = [(json!("solver=gpt-4.1"), json!("1.0000")), (json!("solver=gpt-4.1-mini"), json!("0.2500"))];
        assert_eq!(results, expected.iter().map(|(combo, score)| (combo, score)).collect::<Vec<_>>());
        let mut reasons: Vec<String> = Vec::new();
        for trial in space.run_items("scored", "trials").await {
            reasons.push(trial["score_reason"].as_str().unwrap_or_default().to_owned());
        }
        reasons.sort();
        assert_eq!(reasons, ["of scored: a", "of scored: a", "of scored: b", "of scored: b", "of scored: c", "of scored: c"]);
        space.pods_go("scored").await;
    })
    .await;
}

fn condition(run: &Value, kind: &str) -> (String, String) {
    let found = run["status"]["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    let text = |key: &str| found.and_then(|condition| condition[key].as_str()).unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

/// (run, command, what its condition says)
const FAILING: [(&str, &[&str], &str); 2] = [
    ("scorer-fails", &["python3", "-c", "import sys; sys.exit('no model file')"], "exit code 1: no model file"),
    // It is content with itself, and ends well.
    ("scorer-talks", &["python3", "-c", "import sys\nfor line in sys.stdin: print('the score is 5')"], "no answer: `the score is 5`"),
];

#[tokio::test]
async fn a_scorer_that_fails_or_talks_fails_the_run_and_says_why() {
    with_namespace("bad-scorers", async |space| {
        for (name, command, _) in FAILING {
            scored_by(&space, name, &[&format!("{name}: a")], json!({"image": PYTHON, "command": command})).await;
        }
        let mut wrong = Vec::new();
        for (name, _, said) in FAILING {
            let ended = space.run_ends(name).await;
            let (reason, message) = condition(&ended, "Failed");
            let job = format!("Job `{name}-scoring`");
            if !(ended["status"]["phase"] == "Failed" && reason == "ScoringFailed" && message.contains(said) && message.contains(&job)) {
                wrong.push(format!("{name} should say {said:?}: {:#}", ended["status"]));
            }
            // It names logs, which are there.
            let logs = space.kubectl(&["logs", &format!("job/{name}-scoring"), "-c", "scorer"]).await;
            let word = said.rsplit(": ").next().unwrap_or_default().trim_matches('`');
            if !logs.contains(word) {
                wrong.push(format!("{name}'s log has no {word:?}: {logs}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn a_scorer_without_an_image_is_said_to_have_none() {
    with_namespace("no-scorer", async |space| {
        // A name that no registry need be asked for.
        scored_by(&space, "imageless-scorer", &["imageless-scorer: a"], json!({"image": "registry.test/NoSuch:1", "command": ["score"]}))
            .await;
        let told = |run: &Value| condition(run, "Progressing").0 == "ImagePull";
        let run = space.until("agentrun/imageless-scorer", "said to wait for an image", told).await;
        let (_, message) = condition(&run, "Progressing");
        assert!(message.contains("scoring pod") && message.contains("registry.test/NoSuch:1"), "{message}");
        space.kubectl(&["delete", "agentrun", "imageless-scorer", "--timeout=180s"]).await;
    })
    .await;
}
