//! Agents that do not do what they should.

use crate::support::{Bench, Ran};

/// The one failure of the run, as `reason: message`.
fn failure(ran: &Ran) -> String {
    let failures = &ran.json()["status"]["failures"];
    assert_eq!(failures.as_array().map(Vec::len), Some(1), "{ran:?}");
    format!("{}: {}", failures[0]["reason"].as_str().unwrap(), failures[0]["message"].as_str().unwrap())
}

#[test]
fn each_bad_agent_fails_for_its_own_reason_and_scores_nothing() {
    let table = [
        ("echo boring >&2; echo \"KeyError: 'choices'\" >&2; exit 3", "", "AgentExit: exit code 3: KeyError: 'choices'"),
        // Kubernetes' expansion makes one dollar of two.
        ("kill -9 $$$$", "", "AgentSignal: killed by signal 9 (SIGKILL)"),
        ("sleep 1000", "  agent: {timeoutSeconds: 1}\n", "Timeout: ran longer than 1 s"),
        ("exit 0", "", "NoOutput: the agent wrote no output file"),
        ("truncate -s 1G $AGENTRUN_OUTPUT_FILE", "", "OutputTooLarge: the output is longer than 1 MiB"),
        ("yes", "  agent: {output: {stdout: true}}\n", "OutputTooLarge: the output is longer than 1 MiB"),
        ("printf '\\377' > $AGENTRUN_OUTPUT_FILE", "", "OutputNotText: byte 0 of the output is not UTF-8"),
        ("ln -s /dev/zero $AGENTRUN_OUTPUT_FILE", "", "NoOutput: the output file cannot be read"),
        ("sleep 1000 & exit 4", "", "AgentExit: exit code 4"),
    ];
    for (script, extra, expected) in table {
        let ran = Bench::shell(script, extra).simulate(&["-o", "json"]);
        assert_eq!(ran.code, Some(1), "{script}: {ran:?}");
        assert!(failure(&ran).starts_with(expected), "{script}: {ran:?}");
        let status = &ran.json()["status"];
        assert_eq!((status["phase"].as_str(), status["trials"]["failed"].as_i64()), (Some("Failed"), Some(2)), "{script}");
        assert_eq!(status["results"][0]["score"], "0.0000", "{script}");
    }
}

#[test]
fn a_flood_on_both_streams_neither_blocks_nor_grows() {
    let bench = Bench::shell("head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2; echo 4 > $AGENTRUN_OUTPUT_FILE", "");
    assert_eq!(bench.simulate(&["-o", "json"]).json()["status"]["trials"]["unobserved"], 2);
}

#[test]
fn an_agent_that_goes_past_the_proxy_is_unobserved_and_never_scored() {
    let bench = Bench::shell("echo 0 > $AGENTRUN_OUTPUT_FILE", "");
    let ran = bench.simulate(&["-o", "json"]);
    let status = &ran.json()["status"];
    assert_eq!(status["trials"]["unobserved"], 2, "{ran:?}");
    assert_eq!(status["trials"]["succeeded"], 0);
    assert!(status["results"].as_array().is_none_or(Vec::is_empty), "{ran:?}");
    assert!(ran.stderr.contains("does the agent ignore proxies?"), "{ran:?}");
    assert_eq!(ran.code, Some(1));
}

#[test]
fn input_and_output_go_the_way_the_manifest_says() {
    let table = [
        ("cat $AGENTRUN_INPUT_FILE >&2; exit 9", "", "double 0"),
        ("cat >&2; exit 9", "  agent: {input: {stdin: true}}\n", "double 0"),
        ("echo $QUESTION >&2; exit 9", "  agent: {input: {env: QUESTION}}\n", "double 0"),
        (
            "echo $AGENTRUN_RUN $AGENTRUN_DATA_ID $AGENTRUN_COMBO_ID $AGENTRUN_SAMPLE $AGENTRUN_MODEL_SOLVER >&2; exit 9",
            "",
            "test q0 solver=gpt-4.1 0 gpt-4.1",
        ),
    ];
    for (script, extra, expected) in table {
        let bench = Bench::shell(script, extra);
        bench.write("dataset.jsonl", "{\"id\": \"q0\", \"input\": \"double 0\", \"expected\": 0}\n");
        let ran = bench.simulate(&["-o", "json"]);
        assert_eq!(failure(&ran), format!("AgentExit: exit code 9: {expected}"), "{script}");
    }
}

#[test]
fn an_upstream_that_nobody_reaches_is_no_fault_of_the_agents() {
    let bench = Bench::python(1);
    bench.replace("agentrun.yaml", "  scoring:", "  limits: {retries: 1}\n  scoring:");
    let ran = bench.run(&["run", "-f", "agentrun.yaml", "--upstream", "api.openai.com=https://127.0.0.1:1", "-o", "json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let status = &ran.json()["status"];
    assert_eq!(status["failures"][0]["reason"], "UpstreamUnreachable", "{ran:?}");
    assert!(status["results"].as_array().is_none_or(Vec::is_empty), "never scored: {ran:?}");
    let calls = bench.run(&["calls", "test", "-o", "json"]).json();
    let attempts: Vec<_> = calls.as_array().unwrap().iter().map(|call| call["attempt"].as_u64().unwrap()).collect();
    assert!(attempts.contains(&0) && attempts.contains(&1), "retried: {attempts:?}");
}

#[test]
fn a_scoring_command_scores_and_its_failure_is_not_the_agents() {
    let bench = Bench::python(2);
    bench.replace("agentrun.yaml", "{numeric: {}}", "{command: [python3, score.py]}");
    bench.write(
        "score.py",
        "import json, sys\nasked = json.loads(sys.stdin.readline())\nprint(json.dumps({'score': 0.25, 'reason': asked['id']}))\n",
    );
    let ran = bench.simulate(&["-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["status"]["results"][0]["score"], "0.2500");
    let trials = bench.run(&["export", "test", "--trials", "-o", "json"]).json();
    assert_eq!(trials[0]["score_reason"], trials[0]["data_id"]);
    bench.write("score.py", "import sys\nsys.exit('no score today')\n");
    let ran = bench.simulate(&["-o", "json"]);
    assert_eq!((ran.code, &ran.json()["status"]["failures"][0]["reason"]), (Some(1), &"Scoring".into()), "{ran:?}");
    assert!(ran.stdout.contains("no score today"));
}
