use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::FutureExt;

use super::*;
use crate::identity::{Owner, PodRole};

const OPERATOR: &str = "system:serviceaccount:agentrun-system:agentrun-operator";

/// Answers of an API server that knows a few tokens by their signature.
#[derive(Default)]
struct Answers {
    reviews: AtomicUsize,
    jobs: AtomicUsize,
    down: bool,
    job_gone: bool,
}

impl Cluster for Answers {
    fn review<'a>(&'a self, token: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Review>, LookupError>> {
        async move {
            self.reviews.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            if self.down {
                return Err(LookupError { what: "a token's owner", reason: "connection refused".into() });
            }
            let review = |username: &str, pod: Option<(&str, &str)>| {
                let pod = pod.map(|(name, uid)| (name.to_owned(), uid.to_owned()));
                Some(Review { username: username.to_owned(), pod })
            };
            Ok(match token.rsplit('.').next().unwrap_or_default() {
                "operator" => review(OPERATOR, Some(("agentrun-operator-0", "operator-uid"))),
                "reader" => review("system:serviceaccount:team:default", None),
                "second" => review("system:serviceaccount:team:default", Some(("trial-1", "uid-1"))),
                "elsewhere" => review("system:serviceaccount:others:default", Some(("trial-0", "uid-0"))),
                "trial" => review("system:serviceaccount:team:default", Some(("trial-0", "uid-0"))),
                "replaced" => review("system:serviceaccount:team:default", Some(("trial-0", "uid-of-before"))),
                "person" => review("jane", None),
                _ => None,
            })
        }
        .boxed()
    }

    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        let labels = [("agentrun.dev/run", "run"), ("agentrun.dev/combo", "9")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let annotations = [("batch.kubernetes.io/job-completion-index".to_owned(), "4".to_owned())];
        let facts = Facts {
            uid: "uid-0".into(),
            labels: labels.into(),
            annotations: annotations.into(),
            controller: Some(Owner { api_version: "batch/v1".into(), kind: "Job".into(), name: "job".into(), uid: "job-uid".into() }),
        };
        let facts = Facts { uid: if name == "trial-1" { "uid-1" } else { "uid-0" }.into(), ..facts };
        async move { Ok((namespace != "none" && name.starts_with("trial-")).then_some(facts)) }.boxed()
    }

    fn job<'a>(&'a self, namespace: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        let labels = [("agentrun.dev/combo", "1"), ("agentrun.dev/chunk", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let owner =
            Owner { api_version: "agentrun.dev/v1alpha1".into(), kind: "AgentRun".into(), name: "run".into(), uid: "run-uid".into() };
        let uid = if self.job_gone { "another" } else { "job-uid" };
        let facts = Facts { uid: uid.into(), labels: labels.into(), controller: Some(owner), ..Facts::default() };
        self.jobs.fetch_add(1, Ordering::Relaxed);
        async move { Ok((namespace == "team").then_some(facts)) }.boxed()
    }
}

fn token(signature: &str, expires: u64) -> String {
    format!("e30.{}.{signature}", URL_SAFE_NO_PAD.encode(format!(r#"{{"aud":["agentrun-hub"],"exp":{expires}}}"#)))
}

fn authenticator(answers: Answers) -> (Arc<Answers>, Authenticator) {
    let answers = Arc::new(answers);
    (answers.clone(), Authenticator::new(answers, "agentrun-hub", OPERATOR))
}

#[tokio::test]
async fn tokens_become_callers() {
    let (_, authenticator) = authenticator(Answers::default());
    let ask = async |signature| authenticator.caller(&token(signature, u64::MAX)).await;
    // The operator's token is bound to its pod too.
    assert_eq!(ask("operator").await.unwrap(), Caller::Operator);
    assert_eq!(ask("reader").await.unwrap(), Caller::Reader { namespace: "team".into() });
    let Caller::Pod(pod) = ask("trial").await.unwrap() else { panic!("a pod") };
    assert_eq!(pod.role, PodRole::Trial { run_uid: "run-uid".into(), combo: 1, chunk: 2, index: 4 });
    assert!(matches!(ask("person").await, Err(AuthError::NotServiceAccount)));
    assert!(matches!(ask("replaced").await, Err(AuthError::PodGone(_))));
    assert!(matches!(ask("forged").await, Err(AuthError::Rejected(_))));
    assert!(matches!(authenticator.caller(&token("trial", 1)).await, Err(AuthError::Useless(_))));
}

#[tokio::test]
async fn a_trial_whose_job_is_another_is_not_taken_for_a_pod_of_others() {
    let (_, authenticator) = authenticator(Answers { job_gone: true, ..Answers::default() });
    assert!(matches!(authenticator.caller(&token("trial", u64::MAX)).await, Err(AuthError::PodGone(_))));
}

#[tokio::test]
async fn the_pods_of_a_job_ask_for_it_once_and_not_in_another_namespace() {
    let (answers, authenticator) = authenticator(Answers::default());
    for signature in ["trial", "second"] {
        authenticator.caller(&token(signature, u64::MAX)).await.unwrap();
    }
    assert_eq!(answers.jobs.load(Ordering::Relaxed), 1);
    let authenticator = Authenticator::new(answers.clone(), "agentrun-hub", OPERATOR);
    authenticator.caller(&token("second", u64::MAX)).await.unwrap();
    assert!(matches!(authenticator.caller(&token("elsewhere", u64::MAX)).await, Err(AuthError::PodGone(_))));
    assert_eq!(answers.jobs.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn one_question_answers_many_requests() {
    let (answers, authenticator) = authenticator(Answers::default());
    let good = token("trial", u64::MAX);
    let asked = futures::future::join_all((0..50).map(|_| authenticator.caller(&good))).await;
    assert!(asked.iter().all(Result::is_ok));
    for _ in 0..50 {
        assert!(authenticator.caller(&token("forged", u64::MAX)).await.is_err());
    }
    assert_eq!(answers.reviews.load(Ordering::Relaxed), 2);
    // One that is about to expire is asked for each time.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for _ in 0..3 {
        authenticator.caller(&token("reader", now + MARGIN.as_secs())).await.unwrap();
    }
    assert_eq!(answers.reviews.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn an_api_server_that_is_away_is_asked_again() {
    let (answers, authenticator) = authenticator(Answers { down: true, ..Answers::default() });
    for _ in 0..3 {
        assert!(matches!(authenticator.caller(&token("trial", u64::MAX)).await, Err(AuthError::Lookup(_))));
    }
    assert_eq!(answers.reviews.load(Ordering::Relaxed), 3);
}
