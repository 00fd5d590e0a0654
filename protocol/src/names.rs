//! Names on Kubernetes objects and inside pods. They are the public contract of the injector: docs and chart use the same.

/// The API group of the resource, and the prefix of every label and annotation.
pub const GROUP: &str = "agentrun.dev";

/// Label: the run a pod or Job belongs to. On a pod that others make, it asks for injection.
pub const RUN_LABEL: &str = "agentrun.dev/run";
/// Label on the operator's Jobs and their pods: the combo's index in the run, from 0.
pub const COMBO_LABEL: &str = "agentrun.dev/combo";
/// Label on the operator's Jobs and their pods: the chunk's index, from 0. See [`crate::run::cell_of`].
pub const CHUNK_LABEL: &str = "agentrun.dev/chunk";
/// Label on the operator's Jobs that try lost trials again, and on their pods: the how-manieth Job of its combo and chunk it is, from 1. The
/// first one, which tries all of them, has none.
pub const ROUND_LABEL: &str = "agentrun.dev/round";
/// Annotation on such a Job: the indexes that it tries again, as in `3,17-19`. Its own indexes count them up. See [`crate::run::index_in`].
pub const CELLS_ANNOTATION: &str = "agentrun.dev/cells";
/// Label on a Job and its pods that score outputs; its value is `true`.
pub const SCORING_LABEL: &str = "agentrun.dev/scoring";
/// The usual label for who made an object; the operator's value is [`MANAGER`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// See [`MANAGED_BY_LABEL`]. Also the field manager of what the operator applies.
pub const MANAGER: &str = "agentrun-operator";

/// Annotation on pods that others make: the datapoint.
pub const DATA_ID_ANNOTATION: &str = "agentrun.dev/data-id";
/// Annotation on pods: the combo.
pub const COMBO_ID_ANNOTATION: &str = "agentrun.dev/combo-id";
/// Annotation on pods: the agent, where a pod has several.
pub const AGENT_ID_ANNOTATION: &str = "agentrun.dev/agent-id";
/// Annotation on pods that others make: capture layers, comma-separated (`Connect,Dns,BaseUrl`).
pub const CAPTURE_ANNOTATION: &str = "agentrun.dev/capture";
/// Annotation on pods that others make: what becomes of the pod's own `HTTPS_PROXY` (`Chain`, `Override`, `Deny`).
pub const PROXY_POLICY_ANNOTATION: &str = "agentrun.dev/proxy-policy";
/// Annotation on pods: `true` gives Java its options (`JAVA_TOOL_OPTIONS`), at the price of a line on stderr from each JVM.
pub const JAVA_ANNOTATION: &str = "agentrun.dev/java";
/// Annotation on pods that others make: `true` serves AgentOpt's control plane to the pod's containers on [`GATEWAY_PORT`], so that they open sessions of their own.
pub const GATEWAY_ANNOTATION: &str = "agentrun.dev/gateway";
/// Annotation that the injector leaves: what it did, as one JSON object.
pub const INJECTED_ANNOTATION: &str = "agentrun.dev/injected";
/// Kubernetes' annotation for the index of a pod of an Indexed Job.
pub const COMPLETION_INDEX_ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";
/// The finalizer on an AgentRun: its data is removed from the hub before it goes.
pub const FINALIZER: &str = "agentrun.dev/hub-data";

/// The sidecar's container in a pod.
pub const SIDECAR_CONTAINER: &str = "agentrun-sidecar";
/// The memory volume with certificates (and the wrapper), read-only in the agent's containers.
pub const TRUST_VOLUME: &str = "agentrun-trust";
/// Where [`TRUST_VOLUME`] is mounted, in the sidecar and in the agent's containers.
pub const TRUST_DIR: &str = "/var/run/agentrun/trust";
/// The volume that hands input and output over, writable by the agent. Mounted at [`EXCHANGE_DIR`] unless the files lie elsewhere.
pub const EXCHANGE_VOLUME: &str = "agentrun-exchange";
/// Where [`EXCHANGE_VOLUME`] is mounted in the sidecar, and in the agent container by default.
pub const EXCHANGE_DIR: &str = "/agentrun";
/// The sidecar's own volume: journal, answers, what waits for the hub.
pub const SPOOL_VOLUME: &str = "agentrun-spool";
/// Where [`SPOOL_VOLUME`] is mounted in the sidecar.
pub const SPOOL_DIR: &str = "/var/spool/agentrun";
/// The projected volume with the sidecar's token.
pub const TOKEN_VOLUME: &str = "agentrun-token";
/// Where [`TOKEN_VOLUME`] is mounted in the sidecar; the token is the file [`TOKEN_FILE`] in it.
pub const TOKEN_DIR: &str = "/var/run/secrets/agentrun.dev";
/// See [`TOKEN_DIR`].
pub const TOKEN_FILE: &str = "token";
/// The volume with `spec.trust`, mounted in the sidecar at [`ROOTS_DIR`].
pub const ROOTS_VOLUME: &str = "agentrun-roots";
/// See [`ROOTS_VOLUME`]. Every file in it is PEM.
pub const ROOTS_DIR: &str = "/var/run/agentrun/roots";
/// The audience of tokens for the hub.
pub const AUDIENCE: &str = "agentrun-hub";

/// Port on loopback of the pod: the proxy, and base URLs.
pub const PROXY_PORT: u16 = 15080;
/// Port on the pod's address: startup probe, readiness, metrics.
pub const ADMIN_PORT: u16 = 15021;
/// Port on loopback of the pod: sessions are opened and closed there, with [`GATEWAY_ANNOTATION`].
pub const GATEWAY_PORT: u16 = 15090;
/// Path of the startup probe on [`ADMIN_PORT`].
pub const STARTUP_PATH: &str = "/startupz";
/// User and group that the sidecar runs as.
pub const SIDECAR_USER: i64 = 65532;

/// File in [`TRUST_DIR`]: our certificate alone.
pub const CA_FILE: &str = "ca.pem";
/// File in [`TRUST_DIR`]: the public roots, ours, and the run's.
pub const BUNDLE_FILE: &str = "bundle.pem";
/// File in [`TRUST_DIR`]: the same as PKCS #12, password `changeit`, for Java.
pub const TRUSTSTORE_FILE: &str = "truststore.p12";
/// Folder in [`TRUST_DIR`] with an ini file for PHP (`PHP_INI_SCAN_DIR=:FOLDER`).
pub const PHP_DIR: &str = "php";
/// File in [`TRUST_DIR`]: settings for wget (`WGETRC`).
pub const WGETRC_FILE: &str = "wgetrc";
/// File in [`TRUST_DIR`]: the static program that starts an agent's command with its input, and takes its output. See [`crate::pod`].
pub const WRAPPER_FILE: &str = "agentrun-wrap";
/// File in [`EXCHANGE_DIR`]: the trial for the wrapper and the curious, one JSON object ([`crate::trial::Handover`]).
pub const TRIAL_FILE: &str = "trial.json";
/// File in [`EXCHANGE_DIR`]: the same variables for the wrapper, each `NAME=VALUE` and ended by a NUL byte.
pub const TRIAL_ENV_FILE: &str = "trial.env";
/// File in [`EXCHANGE_DIR`]: the exit code that the wrapper saw and the seconds that the command ran, as decimal text with a space between,
/// written when the command has ended.
pub const EXIT_FILE: &str = "exit";
/// File in [`EXCHANGE_DIR`]: there once the sidecar has been started again. Its certificates are new then, so that a command from before may fail.
pub const RESTARTED_FILE: &str = "restarted";
/// Socket in [`EXCHANGE_DIR`] between a scoring container's wrapper and the sidecar.
pub const SCORE_SOCKET: &str = "score.sock";
/// Path on the [`ADMIN_PORT`] of a scoring pod's sidecar: what became of the scores. See [`crate::pod`] for its answers.
pub const SCORED_PATH: &str = "/scored";

/// Environment of the sidecar: the hub's URL.
pub const HUB_URL_ENV: &str = "AGENTRUN_HUB_URL";
/// Environment of the sidecar: certificates (PEM) that the hub's must chain to.
pub const HUB_CA_ENV: &str = "AGENTRUN_HUB_CA";
/// Environment of the sidecar: the pod's uid (downward API); the subject of the pod's certificate authority bears it.
pub const POD_UID_ENV: &str = "AGENTRUN_POD_UID";
/// Environment of the sidecar: extra roots (PEM) that the installation trusts upstream and gives to agents.
pub const ROOTS_ENV: &str = "AGENTRUN_ROOTS";
