//! Trials get their results, each once.

use agentrun_hub::archive::ArchiveError;
use agentrun_llm::call::{CacheLayer, Outcome};
use agentrun_protocol::{
    run::{Aggregate, JobProgress, PodFailure},
    trial::{End, Output},
};
use bytes::Bytes;
use jiff::Timestamp;

use super::rig::{Rig, call, content, end, failure, job, now};

both! {
    a_trial_is_scored_at_its_end_and_stays_as_it_is
    a_trial_without_a_call_is_unobserved
    an_end_waits_for_its_records_and_its_output
    infrastructure_failures_are_tried_again_and_counted
    an_agents_own_failure_is_a_result_with_its_cost
    the_wrappers_exit_codes_are_read_beside_the_sidecars_word
    a_trial_without_an_end_lacks_records_after_its_time
    what_the_infrastructure_lost_is_tried_again_by_another_job
    a_lost_trial_has_failed_when_no_try_is_left
    a_trial_without_an_end_is_tried_again_where_another_job_will
    without_an_exit_code_the_job_decides
    what_a_suspended_run_was_at_waits_to_be_run_again
    the_jobs_whose_pods_may_go_are_told
    a_restart_between_end_and_score_loses_nothing
    a_ranking_is_that_of_one_machine
}

async fn a_trial_is_scored_at_its_end_and_stays_as_it_is(mut rig: Rig) {
    rig.register().await;
    let began = Timestamp::from_microsecond(now().as_microsecond()).unwrap();
    rig.live(0, 0, "right", "yes").await;
    rig.live(0, 1, "wrong", "no").await;
    let right = rig.trial("solver=m0", "q0").await;
    assert_eq!((right.state.as_str(), right.score, right.latency_seconds), ("Succeeded", Some(1.0), Some(10.0)));
    assert_eq!((right.usd.as_deref(), right.calls, right.pod.as_deref()), (Some("0.02"), 2, Some("right")));
    let time = |text: &Option<String>| text.as_ref().unwrap().parse::<Timestamp>().unwrap();
    assert!(began <= time(&right.started) && time(&right.started) <= time(&right.finished) && time(&right.finished) <= now(), "{right:?}");
    let wrong = rig.trial("solver=m0", "q1").await;
    assert_eq!(wrong.score, Some(0.0));
    assert!(wrong.score_reason.is_some());
    // A second pod, a failure told late, another Job's word: nothing of it changes a result.
    let late = rig.claim(0, 0, "late").await;
    assert!(late.is_final);
    rig.ingest(late.attempt, 1, &[call("x")]).await.unwrap();
    rig.archive.put_output(late.attempt, Bytes::from_static(b"no")).await.unwrap();
    rig.archive.end(late.attempt, end(1)).await.unwrap();
    rig.observe(vec![job(0, "", "0-1")], vec![failure(0, 0, "right", "Evicted"), failure(0, 1, "wrong", "AgentExit")], 100).await;
    let before = content(rig.aggregate().await);
    assert_eq!((before.finished, &before.status["trials"]["succeeded"], &before.status["calls"]["total"]), (2, &2.into(), &5.into()));
    rig.reopen().await;
    assert_eq!(content(rig.aggregate().await), before);
    assert_eq!(rig.trial("solver=m0", "q0").await, agentrun_protocol::query::Trial { attempts: 2, ..right });
}

async fn a_trial_without_a_call_is_unobserved(rig: Rig) {
    rig.register().await;
    let attempt = rig.claim(0, 0, "silent").await.attempt;
    rig.archive.put_output(attempt, Bytes::from_static(b"yes")).await.unwrap();
    rig.archive.end(attempt, end(0)).await.unwrap();
    let trial = rig.trial("solver=m0", "q0").await;
    assert_eq!((trial.state.as_str(), trial.score, trial.output.as_deref()), ("Unobserved", None, Some("yes")));
}

async fn an_end_waits_for_its_records_and_its_output(rig: Rig) {
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    for (last, part) in [(1, "records up to 1"), (0, "output has not arrived")] {
        let error = rig.archive.end(attempt, end(last)).await.unwrap_err();
        assert!(matches!(&error, ArchiveError::NotYet(_)) && error.to_string().contains(part), "{error}");
    }
    assert_eq!(rig.trial("solver=m0", "q0").await.state, "Running");
}

async fn infrastructure_failures_are_tried_again_and_counted(mut rig: Rig) {
    rig.register().await;
    let first = rig.claim(0, 0, "first").await;
    rig.ingest(first.attempt, 1, &[call("a")]).await.unwrap();
    let mut told = vec![failure(0, 0, "first", "Evicted"), failure(0, 1, "never", "ImagePull")];
    rig.observe(vec![job(0, "", "")], told.clone(), 0).await;
    let waiting = rig.trial("solver=m0", "q0").await;
    assert_eq!((waiting.state.as_str(), waiting.reason.as_deref(), waiting.attempts), ("Pending", Some("Evicted"), 1));
    assert!(waiting.started.is_some() && waiting.finished.is_none(), "it is not over: {waiting:?}");
    assert_eq!(rig.trial("solver=m0", "q1").await.attempts, 0);
    assert_eq!(rig.claim(0, 0, "second").await.assignment.attempt, 1);
    assert_eq!(rig.claim(0, 0, "second").await.assignment.attempt, 1, "the same pod is the same attempt");
    rig.reopen().await;
    told.push(failure(0, 0, "second", "NodeLost"));
    let aggregate = rig.observe(vec![job(0, "", "0-1")], told, 0).await;
    let interruptions: Vec<_> = aggregate.interruptions.iter().map(|one| (one.reason.as_str(), one.count, one.message.as_str())).collect();
    let expected = [("Evicted", 1, "Evicted of first"), ("ImagePull", 1, "ImagePull of never"), ("NodeLost", 1, "NodeLost of second")];
    assert_eq!(interruptions, expected);
    let given_up = rig.trial("solver=m0", "q0").await;
    assert_eq!((given_up.state.as_str(), given_up.reason.as_deref(), given_up.score), ("Failed", Some("NodeLost"), None));
    assert_eq!((aggregate.finished, &aggregate.status["calls"]["total"]), (2, &1.into()), "calls of lost attempts cost money too");
    assert!(aggregate.status["results"].as_array().is_none_or(Vec::is_empty), "nothing of it is scored: {}", aggregate.status);
}

async fn an_agents_own_failure_is_a_result_with_its_cost(rig: Rig) {
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    let mut cached = call("b");
    (cached.cached, cached.cache_layer, cached.latency_seconds) = (true, Some(CacheLayer::Hub), 4.0);
    (cached.cost_usd, cached.saved_usd) = (Some("0".parse().unwrap()), Some("0.01".parse().unwrap()));
    rig.ingest(attempt, 1, &[call("a"), cached]).await.unwrap();
    rig.archive.end(attempt, End { exit_code: Some(3), output: Output::Missing, cached_seconds: 3.0, ..end(2) }).await.unwrap();
    assert_eq!(rig.trial("solver=m0", "q0").await.state, "Running", "how the pod ended is not told yet");
    let aggregate = rig.observe(vec![], vec![failure(0, 0, "pod", "AgentOutOfMemory")], 0).await;
    let trial = rig.trial("solver=m0", "q0").await;
    assert_eq!((trial.state.as_str(), trial.reason.as_deref(), trial.usd.as_deref()), ("Failed", Some("AgentOutOfMemory"), Some("0.02")));
    assert_eq!(trial.latency_seconds, Some(13.0));
    let best = &aggregate.status["results"][0];
    assert_eq!((&best["combo"], &best["score"], &best["failed"]), (&"solver=m0".into(), &"0.0000".into(), &1.into()));
    assert_eq!((&aggregate.status["spend"]["usd"], &aggregate.status["spend"]["savedUsd"]), (&"0.0100".into(), &"0.0100".into()));
    assert_eq!(aggregate.captured.get("connect"), Some(&2));
}

async fn the_wrappers_exit_codes_are_read_beside_the_sidecars_word(rig: Rig) {
    rig.register().await;
    for (index, pod, wall_seconds) in [(0, "late", 61.0), (1, "early", 9.0)] {
        let attempt = rig.claim(0, index, pod).await.attempt;
        rig.archive.end(attempt, End { exit_code: Some(124), output: Output::Missing, wall_seconds, ..end(0) }).await.unwrap();
    }
    let exit = |index, pod, code| PodFailure { exit_code: Some(code), ..failure(0, index, pod, "AgentExit") };
    let told = vec![exit(0, "late", 124), exit(1, "early", 124), exit(2, "silent", 124), exit(3, "lost", 213)];
    let aggregate = rig.observe(vec![], told, 0).await;
    let interruptions: Vec<_> = aggregate.interruptions.iter().map(|one| (one.reason.as_str(), one.count)).collect();
    assert_eq!(interruptions, [("AgentExit", 1), ("SidecarLost", 1), ("Timeout", 2)]);
    for (datapoint, state, reason) in
        [("q0", "Failed", "Timeout"), ("q1", "Failed", "AgentExit"), ("q2", "Failed", "Timeout"), ("q3", "Pending", "SidecarLost")]
    {
        let trial = rig.trial("solver=m0", datapoint).await;
        assert_eq!((trial.state.as_str(), trial.reason.as_deref()), (state, Some(reason)), "{datapoint}");
    }
}

async fn a_trial_without_an_end_lacks_records_after_its_time(rig: Rig) {
    rig.register().await;
    let slow = rig.claim(0, 0, "slow").await.attempt;
    rig.ingest(slow, 1, &[call("a")]).await.unwrap();
    let told = || vec![job(0, "0-1", "")];
    assert_eq!(rig.observe(told(), vec![], 0).await.finished, 0);
    assert_eq!(rig.observe(told(), vec![], 29).await.finished, 0);
    rig.archive.put_output(slow, Bytes::from_static(b"yes")).await.unwrap();
    rig.archive.end(slow, end(1)).await.unwrap();
    let aggregate = rig.observe(told(), vec![], 31).await;
    assert_eq!((aggregate.finished, aggregate.records_missing), (2, 1));
    assert_eq!(rig.trial("solver=m0", "q0").await.state, "Succeeded");
    let missing = rig.trial("solver=m0", "q1").await;
    assert_eq!((missing.state.as_str(), missing.reason.as_deref()), ("Failed", Some("RecordsMissing")));
}

/// As [`job`], of an operator that tries lost trials again.
fn trying(succeeded: &str, failed: &str) -> JobProgress {
    JobProgress { again: true, ..job(0, succeeded, failed) }
}

async fn what_the_infrastructure_lost_is_tried_again_by_another_job(mut rig: Rig) {
    rig.register().await;
    let first = rig.claim(0, 0, "first").await;
    rig.ingest(first.attempt, 1, &[call("a")]).await.unwrap();
    // Its Job has given it up before its pod's end is told.
    assert_eq!(rig.observe(vec![trying("", "0")], vec![], 0).await.lost, []);
    let told = rig.observe(vec![trying("", "0")], vec![failure(0, 0, "first", "Evicted")], 0).await;
    assert_eq!((told.finished, told.lost.as_slice()), (0, [(0, 0, "0".to_owned())].as_slice()));
    let waiting = rig.trial("solver=m0", "q0").await;
    assert_eq!((waiting.state.as_str(), waiting.reason.as_deref()), ("Pending", Some("Evicted")));
    rig.reopen().await;
    let again = rig.observe(vec![trying("", "0")], vec![], 0).await;
    assert_eq!((again.finished, again.lost), (0, told.lost), "another process decides the same");
    // The next Job is there: it counts the trial anew.
    assert_eq!(rig.observe(vec![trying("", "")], vec![], 0).await.lost, []);
    rig.live(0, 0, "second", "yes").await;
    let ended = rig.observe(vec![trying("0", "")], vec![], 0).await;
    let trial = rig.trial("solver=m0", "q0").await;
    assert_eq!((ended.finished, trial.score, trial.attempts), (1, Some(1.0), 2));
    assert_eq!(&ended.status["calls"]["total"], &3, "calls of the lost attempt cost money too");
}

async fn a_lost_trial_has_failed_when_no_try_is_left(rig: Rig) {
    rig.register().await;
    // A retry of two by default: three tries.
    for pod in ["first", "second", "third"] {
        assert_eq!(rig.observe(vec![trying("", "")], vec![], 0).await.finished, 0);
        rig.claim(0, 0, pod).await;
        let told = rig.observe(vec![trying("", "0")], vec![failure(0, 0, pod, "Evicted")], 0).await;
        assert_eq!((told.finished == 1, told.lost.is_empty()), (pod == "third", pod == "third"));
    }
    let trial = rig.trial("solver=m0", "q0").await;
    assert_eq!((trial.state.as_str(), trial.reason.as_deref(), trial.attempts), ("Failed", Some("Evicted"), 3));
    // Nor is one that waits when the operator will make no further Job.
    rig.claim(0, 1, "other").await;
    let told = rig.observe(vec![trying("", "0-1")], vec![failure(0, 1, "other", "NodeLost")], 0).await;
    assert_eq!(told.lost, [(0, 0, "1".to_owned())]);
    let told = rig.observe(vec![job(0, "", "0-1")], vec![], 0).await;
    assert_eq!((told.finished, told.lost.as_slice()), (2, [].as_slice()));
}

async fn a_trial_without_an_end_is_tried_again_where_another_job_will(mut rig: Rig) {
    rig.register().await;
    let silent = rig.claim(0, 0, "silent").await.attempt;
    rig.ingest(silent, 1, &[call("a")]).await.unwrap();
    rig.observe(vec![trying("0", "")], vec![], 0).await;
    let told = rig.observe(vec![trying("0", "")], vec![], 31).await;
    assert_eq!((told.finished, told.records_missing, told.lost.as_slice()), (0, 0, [(0, 0, "0".to_owned())].as_slice()));
    assert_eq!(told.interruptions.iter().map(|one| (one.reason.as_str(), one.count)).collect::<Vec<_>>(), [("RecordsMissing", 1)]);
    rig.reopen().await;
    rig.observe(vec![trying("0", "")], vec![], 0).await;
    assert_eq!(rig.observe(vec![trying("0", "")], vec![], 31).await.lost, told.lost);
    // Its pod asks for its trial before the operator has told of its Job.
    let second = rig.claim(0, 0, "second").await;
    assert_eq!((second.assignment.attempt, rig.trial("solver=m0", "q0").await.state.as_str()), (1, "Running"));
    rig.archive.end(second.attempt, End { exit_code: Some(143), output: Output::Missing, ..end(0) }).await.unwrap();
    assert_eq!(rig.trial("solver=m0", "q0").await.state, "Running", "what became of its pod is to be told");
}

async fn without_an_exit_code_the_job_decides(rig: Rig) {
    rig.register().await;
    for (index, pod) in ["well", "badly"].into_iter().enumerate() {
        let attempt = rig.claim(0, index as u64, pod).await.attempt;
        rig.ingest(attempt, 1, &[call(pod)]).await.unwrap();
        rig.archive.put_output(attempt, Bytes::from_static(b"yes")).await.unwrap();
        rig.archive.end(attempt, End { exit_code: None, ..end(1) }).await.unwrap();
    }
    assert_eq!(rig.observe(vec![job(0, "", "")], vec![], 0).await.finished, 0);
    let aggregate = rig.observe(vec![job(0, "0", "1")], vec![failure(0, 1, "badly", "AgentExit")], 0).await;
    assert_eq!(aggregate.finished, 2);
    assert_eq!(rig.trial("solver=m0", "q0").await.score, Some(1.0));
    assert_eq!(rig.trial("solver=m0", "q1").await.reason.as_deref(), Some("AgentExit"));
}

async fn what_a_suspended_run_was_at_waits_to_be_run_again(mut rig: Rig) {
    rig.register().await;
    rig.live(0, 0, "ended", "yes").await;
    let stopped = rig.claim(0, 1, "stopped").await.attempt;
    let counts = |told: &Aggregate| ["succeeded", "running", "pending"].map(|state| told.status["trials"][state].as_u64().unwrap());
    let all = counts(&rig.aggregate().await).iter().sum::<u64>();
    // Its sidecar had the time to say how it ended.
    rig.archive.end(stopped, End { exit_code: Some(143), output: Output::Missing, ..end(0) }).await.unwrap();
    assert_eq!(counts(&rig.aggregate().await), [1, 1, all - 2]);
    assert_eq!(counts(&rig.stopped().await), [1, 0, all - 1]);
    rig.reopen().await;
    assert_eq!(counts(&rig.stopped().await), [1, 0, all - 1]);
    rig.claim(0, 1, "another").await;
    assert_eq!(counts(&rig.aggregate().await), [1, 1, all - 2]);
    rig.live(0, 1, "another", "yes").await;
    assert_eq!(counts(&rig.stopped().await), [2, 0, all - 2]);
}

async fn the_jobs_whose_pods_may_go_are_told(mut rig: Rig) {
    rig.register().await;
    for (combo, index) in [(0, 0), (0, 1), (0, 3), (1, 2)] {
        rig.live(combo, index, &format!("pod-{combo}-{index}"), "yes").await;
    }
    let expected = [(0, 0, "0-1,3".to_owned()), (1, 0, "2".to_owned())];
    assert_eq!(rig.aggregate().await.harvested, expected);
    rig.reopen().await;
    assert_eq!(rig.aggregate().await.harvested, expected);
}

async fn a_restart_between_end_and_score_loses_nothing(mut rig: Rig) {
    rig.register().await;
    let attempt = rig.claim(0, 0, "pod").await.attempt;
    rig.ingest(attempt, 1, &[call("a")]).await.unwrap();
    rig.archive.put_output(attempt, vec![b'x'; 100_000].into()).await.unwrap();
    // Without an exit code the end alone settles nothing; the Job's word comes to another process.
    rig.archive.end(attempt, End { exit_code: None, ..end(1) }).await.unwrap();
    rig.reopen().await;
    let aggregate = rig.observe(vec![job(0, "0", "")], vec![], 0).await;
    assert_eq!((aggregate.finished, rig.trial("solver=m0", "q0").await.score), (1, Some(0.0)));
}

async fn a_ranking_is_that_of_one_machine(rig: Rig) {
    rig.register().await;
    for index in 0..4 {
        rig.live(1, index, &format!("good-{index}"), "yes").await;
        rig.live(0, index, &format!("half-{index}"), if index % 2 == 0 { "yes" } else { "no" }).await;
    }
    let aggregate = rig.observe(vec![job(0, "0-3", ""), job(1, "0-3", "")], vec![], 0).await;
    let results = aggregate.status["results"].as_array().unwrap();
    let rows: Vec<_> = results.iter().map(|row| (row["combo"].as_str().unwrap(), row["score"].as_str().unwrap())).collect();
    assert_eq!(rows, [("solver=m1", "1.0000"), ("solver=m0", "0.5000")]);
    assert_eq!(aggregate.status["best"]["combo"], "solver=m1");
    assert_eq!(results[1]["standardError"], "0.2887");
    assert_eq!(results[0]["usd"], "0.0200");
    let mut failed = call("x");
    failed.outcome = Outcome::HttpError;
    assert_eq!(rig.aggregate().await.status, aggregate.status, "nothing changed, nothing is told anew");
}
