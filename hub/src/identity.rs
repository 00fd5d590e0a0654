//! Who is asking. Pure: what the API server says of a token, a pod and its Job becomes a [`Caller`].

use std::collections::BTreeMap;

use agentrun_protocol::names::{
    AGENT_ID_ANNOTATION, CELLS_ANNOTATION, CHUNK_LABEL, COMBO_ID_ANNOTATION, COMBO_LABEL, COMPLETION_INDEX_ANNOTATION, DATA_ID_ANNOTATION,
    GROUP, RUN_LABEL, SCORING_LABEL,
};
use agentrun_protocol::run::index_in;

/// The most bytes of an annotation that names a datapoint, a combo or an agent.
const NAME_BYTES: usize = 1024;

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The sidecar of a pod.
    Pod(PodIdentity),
    /// The operator: it registers, observes and deletes runs, and may read all.
    Operator,
    /// A service account of a namespace that is bound to no pod: it may read the namespace's runs.
    Reader {
        /// The namespace.
        namespace: String,
    },
}

/// A pod that belongs to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid: it names the attempt.
    pub uid: String,
    /// The run's name, from the pod's label.
    pub run: String,
    /// What the pod is for.
    pub role: PodRole,
}

/// What a pod is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodRole {
    /// A trial of one of the operator's Jobs.
    Trial {
        /// The AgentRun's uid, from the Job's owner.
        run_uid: String,
        /// The combo's index.
        combo: u64,
        /// The chunk's index.
        chunk: u64,
        /// The index in the chunk: the completion index in the Job, or what that stands for where the Job tries only some of them again.
        index: u64,
    },
    /// A pod of the operator's that scores outputs.
    Scoring {
        /// The AgentRun's uid, from the Job's owner.
        run_uid: String,
    },
    /// A pod that others made and labelled.
    Foreign {
        /// The datapoint: the annotation, else the pod's name.
        data_id: String,
        /// The combo: the annotation, else empty.
        combo_id: String,
        /// The agent: the annotation, else empty.
        agent_id: String,
    },
}

/// The controller of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// As in `batch/v1`.
    pub api_version: String,
    /// As in `Job`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What is needed of a pod or a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its controller.
    pub controller: Option<Owner>,
}

/// Why a pod is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No run is named.
    #[error("pod {0} has no label agentrun.dev/run: label it with the run's name when it is made")]
    NoRun(String),
    /// A label or an annotation of the operator's is not there, or no number.
    #[error("pod {pod} of a run's Job has no usable `{key}`: it must be a number")]
    Number {
        /// The pod's name.
        pod: String,
        /// The label or annotation.
        key: &'static str,
    },
    /// An annotation is too long to name anything.
    #[error("annotation `{key}` of pod {pod} is longer than {NAME_BYTES} bytes")]
    LongName {
        /// The pod's name.
        pod: String,
        /// The annotation.
        key: &'static str,
    },
    /// The Job and the pod name two runs.
    #[error("pod {pod} is labelled with run `{label}`, but its Job belongs to AgentRun `{owner}`")]
    OtherRun {
        /// The pod's name.
        pod: String,
        /// The pod's label.
        label: String,
        /// The Job's owner.
        owner: String,
    },
}

impl Facts {
    /// The Job that controls the pod, if one does.
    pub fn controlling_job(&self) -> Option<&Owner> {
        self.controller.as_ref().filter(|owner| owner.kind == "Job" && owner.api_version.starts_with("batch/"))
    }

    /// The AgentRun that controls the Job, if one does.
    fn controlling_run(&self) -> Option<&Owner> {
        let group = |version: &str| version.split_once('/').is_some_and(|(group, _)| group == GROUP);
        self.controller.as_ref().filter(|owner| owner.kind == "AgentRun" && group(&owner.api_version))
    }
}

/// Who the pod is. `job` is the Job that controls it, seen to have the uid that the pod names; labels of the operator's are read from it and
/// not from the pod, whose labels more people may change.
///
/// # Errors
/// A pod without a run; one of the operator's without its numbers.
pub fn identify(namespace: &str, name: &str, pod: &Facts, job: Option<&Facts>) -> Result<PodIdentity, IdentityError> {
    let run = pod.labels.get(RUN_LABEL).filter(|run| !run.is_empty()).ok_or_else(|| IdentityError::NoRun(name.to_owned()))?;
    let role = match job.and_then(|job| Some((job, job.controlling_run()?))) {
        Some((_, owner)) if owner.name != *run => {
            return Err(IdentityError::OtherRun { pod: name.to_owned(), label: run.clone(), owner: owner.name.clone() });
        }
        Some((job, owner)) if job.labels.get(SCORING_LABEL).is_some_and(|value| value == "true") => {
            PodRole::Scoring { run_uid: owner.uid.clone() }
        }
        Some((job, owner)) => {
            let number = |facts: &BTreeMap<String, String>, key| {
                let text = facts.get(key).and_then(|text| text.parse().ok());
                text.ok_or_else(|| IdentityError::Number { pod: name.to_owned(), key })
            };
            let own = number(&pod.annotations, COMPLETION_INDEX_ANNOTATION)?;
            PodRole::Trial {
                run_uid: owner.uid.clone(),
                combo: number(&job.labels, COMBO_LABEL)?,
                chunk: number(&job.labels, CHUNK_LABEL)?,
                index: match job.annotations.get(CELLS_ANNOTATION) {
                    None => own,
                    Some(cells) => {
                        index_in(cells, own).ok_or_else(|| IdentityError::Number { pod: name.to_owned(), key: CELLS_ANNOTATION })?
                    }
                },
            }
        }
        None => {
            let text = |key| match pod.annotations.get(key) {
                Some(text) if text.len() > NAME_BYTES => Err(IdentityError::LongName { pod: name.to_owned(), key }),
                text => Ok(text.filter(|text| !text.is_empty()).cloned()),
            };
            PodRole::Foreign {
                data_id: text(DATA_ID_ANNOTATION)?.unwrap_or_else(|| name.to_owned()),
                combo_id: text(COMBO_ID_ANNOTATION)?.unwrap_or_default(),
                agent_id: text(AGENT_ID_ANNOTATION)?.unwrap_or_default(),
            }
        }
    };
    Ok(PodIdentity { namespace: namespace.to_owned(), name: name.to_owned(), uid: pod.uid.clone(), run: run.clone(), role })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn owner(api_version: &str, kind: &str) -> Option<Owner> {
        let text = str::to_owned;
        Some(Owner { api_version: text(api_version), kind: text(kind), name: text("run"), uid: text("owner-uid") })
    }

    fn job(labels: &[(&str, &str)]) -> Facts {
        Facts { uid: "job-uid".into(), labels: map(labels), annotations: map(&[]), controller: owner("agentrun.dev/v1alpha1", "AgentRun") }
    }

    fn pod(annotations: &[(&str, &str)]) -> Facts {
        Facts { uid: "pod-uid".into(), labels: map(&[(RUN_LABEL, "run")]), annotations: map(annotations), controller: None }
    }

    const CELL: [(&str, &str); 2] = [(COMBO_LABEL, "3"), (CHUNK_LABEL, "1")];

    fn role(pod: &Facts, job: Option<&Facts>) -> Result<PodRole, IdentityError> {
        identify("team", "pod", pod, job).map(|identity| identity.role)
    }

    #[test]
    fn a_pod_of_the_operators_job_is_its_trial() {
        let identity = identify("team", "pod", &pod(&[(COMPLETION_INDEX_ANNOTATION, "7")]), Some(&job(&CELL))).unwrap();
        assert_eq!((identity.run.as_str(), identity.uid.as_str()), ("run", "pod-uid"));
        assert_eq!(identity.role, PodRole::Trial { run_uid: "owner-uid".into(), combo: 3, chunk: 1, index: 7 });
    }

    #[test]
    fn a_pod_of_a_job_that_tries_some_trials_again_is_one_of_those() {
        let again = |cells: &str| Facts { annotations: map(&[(CELLS_ANNOTATION, cells)]), ..job(&CELL) };
        let mut forged = pod(&[(COMPLETION_INDEX_ANNOTATION, "1")]);
        assert_eq!(role(&forged, Some(&again("4,9"))), Ok(PodRole::Trial { run_uid: "owner-uid".into(), combo: 3, chunk: 1, index: 9 }));
        assert!(matches!(role(&forged, Some(&again("4"))), Err(IdentityError::Number { key: CELLS_ANNOTATION, .. })));
        forged.annotations.insert(CELLS_ANNOTATION.into(), "0-7".into());
        assert_eq!(role(&forged, Some(&again("4,9"))), Ok(PodRole::Trial { run_uid: "owner-uid".into(), combo: 3, chunk: 1, index: 9 }));
    }

    #[test]
    fn labels_on_the_pod_do_not_make_it_another_trial() {
        let mut forged = pod(&[(COMPLETION_INDEX_ANNOTATION, "7")]);
        forged.labels.extend(map(&[(COMBO_LABEL, "0"), (CHUNK_LABEL, "0"), (SCORING_LABEL, "true")]));
        assert_eq!(role(&forged, Some(&job(&CELL))), Ok(PodRole::Trial { run_uid: "owner-uid".into(), combo: 3, chunk: 1, index: 7 }));
        // Without the operator's Job they mean nothing.
        assert!(matches!(role(&forged, None), Ok(PodRole::Foreign { .. })));
        let other = Facts { controller: owner("example.com/v1", "AgentRun"), ..job(&CELL) };
        assert!(matches!(role(&forged, Some(&other)), Ok(PodRole::Foreign { .. })));
    }

    #[test]
    fn a_pod_of_the_operators_scoring_job_scores() {
        let scoring = job(&[(SCORING_LABEL, "true")]);
        assert_eq!(role(&pod(&[]), Some(&scoring)), Ok(PodRole::Scoring { run_uid: "owner-uid".into() }));
    }

    #[test]
    fn a_pod_of_others_says_what_it_is_in_annotations() {
        let plain = pod(&[]);
        let named = pod(&[(DATA_ID_ANNOTATION, "q1"), (COMBO_ID_ANNOTATION, "a"), (AGENT_ID_ANNOTATION, "x")]);
        let foreign = |data_id: &str, combo_id: &str, agent_id: &str| {
            Ok(PodRole::Foreign { data_id: data_id.into(), combo_id: combo_id.into(), agent_id: agent_id.into() })
        };
        assert_eq!(role(&plain, None), foreign("pod", "", ""));
        assert_eq!(role(&named, None), foreign("q1", "a", "x"));
        let long = "x".repeat(NAME_BYTES + 1);
        assert!(matches!(role(&pod(&[(COMBO_ID_ANNOTATION, &long)]), None), Err(IdentityError::LongName { .. })));
    }

    #[test]
    fn a_pod_that_does_not_fit_is_refused() {
        let unlabelled = Facts { labels: map(&[]), ..pod(&[]) };
        assert!(matches!(role(&unlabelled, None), Err(IdentityError::NoRun(_))));
        assert!(matches!(role(&pod(&[]), Some(&job(&CELL))), Err(IdentityError::Number { key: COMPLETION_INDEX_ANNOTATION, .. })));
        let negative = pod(&[(COMPLETION_INDEX_ANNOTATION, "-1")]);
        assert!(matches!(role(&negative, Some(&job(&CELL))), Err(IdentityError::Number { .. })));
        let stranger = Facts { labels: map(&[(RUN_LABEL, "another")]), ..pod(&[(COMPLETION_INDEX_ANNOTATION, "7")]) };
        assert!(matches!(role(&stranger, Some(&job(&CELL))), Err(IdentityError::OtherRun { .. })));
    }
}
