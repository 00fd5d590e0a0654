//! `helm upgrade` while a run is going.

use agentrun_tests::cluster::{PYTHON, Provider, SYSTEM, agent_pod_spec, agent_run, with_namespace_alone};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

/// One call, some seconds after the start.
const SLOW_AGENT: &str = r#"
import os, time
from openai import OpenAI
question = open(os.environ["AGENTRUN_INPUT_FILE"]).read()
time.sleep(2)
answer = OpenAI().chat.completions.create(model=os.environ["AGENTRUN_MODEL_SOLVER"], messages=[{"role": "user", "content": question}])
open(os.environ["AGENTRUN_OUTPUT_FILE"], "w").write(answer.choices[0].message.content)
"#;

#[tokio::test]
async fn an_upgrade_does_not_disturb_a_run() {
    with_namespace_alone("chart-upgrade", async |space| {
        let provider = Provider(space.cluster);
        let mark = format!("upgrade {}", space.name);
        provider.rules("upgrade", &[Rule { contains: vec![mark.clone()], text: Some("seen".to_owned()), ..Rule::default() }]).await;
        let questions: Vec<String> = (0..24).map(|number| format!("{mark}: question {number}")).collect();
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let mut pod = agent_pod_spec(PYTHON, &["python3", "-c", SLOW_AGENT]);
        pod["containers"][0]["env"] = json!([{"name": "OPENAI_API_KEY", "value": "sk-test-not-a-real-key"}]);
        let mut run = agent_run("upgraded", &["gpt-4.1-mini"], &questions, pod);
        run["spec"]["limits"]["parallelism"] = 4.into();
        // A busy machine is not the agent's fault.
        run["spec"]["agent"]["timeoutSeconds"] = 300.into();
        run["spec"]["scoring"] = json!({"exact": {}});
        for item in run["spec"]["dataset"]["items"].as_array_mut().into_iter().flatten() {
            item["expected"] = "seen".into();
        }
        space.create(&run).await;
        let succeeded = |run: &Value| run["status"]["trials"]["succeeded"].as_u64().unwrap_or_default();
        space.until("agentrun/upgraded", "under way", |run| succeeded(run) >= 2).await;

        let change = |part: &str| format!("{part}.podAnnotations.upgraded-for={}", space.name);
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/agentrun");
        let arguments = ["upgrade", "agentrun", chart, "--namespace", SYSTEM, "--reset-then-reuse-values", "--wait", "--timeout", "120s"];
        let changes = [change("operator"), change("hub")];
        let upgraded = space.cluster.try_helm(&[&arguments[..], &["--set", &changes[0], "--set", &changes[1]]].concat()).await;
        assert!(upgraded.is_ok(), "{upgraded:?}");

        let status = space.run_ends("upgraded").await["status"].clone();
        assert_eq!((&status["phase"], &status["trials"]["succeeded"]), (&"Complete".into(), &24.into()), "{status:#}");
        assert_eq!(status["calls"]["total"], 24, "{status:#}");
        let counts = provider.counts(&mark).await;
        assert_eq!((counts.len(), counts.values().max()), (24, Some(&1)), "each distinct call is paid once");

        let row = space.kubectl(&["get", "ar", "upgraded", "--no-headers"]).await;
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..5], ["upgraded", "Complete", "24/24", "solver=gpt-4.1-mini", "1.0000"]);
    })
    .await;
}
