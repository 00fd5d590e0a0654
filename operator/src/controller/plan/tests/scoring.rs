//! Outputs that a container of the user's scores.

use super::*;

#[test]
fn outputs_are_scored_by_a_job_when_they_are_many_or_the_last() {
    let spec = json!({"scoring": {"container": {"image": "i", "command": ["score"]}}});
    let looks = |unscored, finished, scoring: Option<ScoringView>| {
        let mut observed = seen(&[job(10, 0), job(10, 0)], finished);
        told(&mut observed).unscored = unscored;
        observed.scoring = scoring;
        decide(&run(spec.clone(), 10), &observed)
    };
    let scoring = |succeeded, failed: Option<&str>| {
        Some(ScoringView { name: "math-scoring".into(), active: 0, succeeded, failed: failed.map(str::to_owned), problem: None })
    };
    assert_eq!(looks(5, 10, None).create.len(), 0, "trials still run");
    assert_eq!(looks(5, 15, None).create[0]["metadata"]["name"], "math-scoring");
    assert_eq!(looks(100, 0, None).create.len(), 1);
    assert_eq!(looks(5, 15, scoring(false, None)).create.len(), 0, "one is at it");
    let stale = looks(5, 15, scoring(true, None));
    assert_eq!((stale.create.len(), stale.delete), (0, vec!["math-scoring".to_owned()]));
    let failed = looks(5, 15, scoring(false, Some("backoff limit")));
    assert_eq!((phase(&failed), condition(&failed, "Failed")), ("Failed", "True/ScoringFailed".into()));
}

#[test]
fn what_is_wrong_with_a_scoring_container_is_said_as_soon_as_it_is_known() {
    let run = run(json!({"scoring": {"container": {"image": "i", "command": ["score"]}}}), 10);
    let looks = |failed: Option<&str>, reason: FailureReason| {
        let mut observed = seen(&[job(10, 0), job(10, 0)], 15);
        told(&mut observed).unscored = 5;
        let problem = Some(Diagnosis { reason, message: "exit code 3: no model".into(), exit_code: None, hopeless: false });
        observed.scoring =
            Some(ScoringView { name: "math-scoring".into(), active: 1, succeeded: false, failed: failed.map(str::to_owned), problem });
        decide(&run, &observed)
    };
    let failed = looks(Some("backoff limit"), FailureReason::AgentExit);
    assert_eq!((phase(&failed), condition(&failed, "Failed")), ("Failed", "True/ScoringFailed".into()));
    assert_eq!(
        message(&failed, "Failed"),
        "the scoring container failed: exit code 3: no model; see the logs of the pods of Job `math-scoring`"
    );
    let tried = looks(None, FailureReason::AgentExit);
    assert_eq!((phase(&tried), condition(&tried, "Progressing")), ("Running", "True/Scoring".into()));
    assert!(message(&tried, "Progressing").ends_with("exit code 3: no model"), "{}", message(&tried, "Progressing"));
    let waits = looks(None, FailureReason::ImagePull);
    assert_eq!((phase(&waits), condition(&waits, "Progressing")), ("Running", "False/ImagePull".into()));
}

#[test]
fn the_hubs_builtin_scorers_need_no_job() {
    let mut observed = seen(&[job(10, 0), job(10, 0)], 15);
    told(&mut observed).unscored = 5;
    assert_eq!(decide(&run(json!({}), 10), &observed).create.len(), 0);
}
