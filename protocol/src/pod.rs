//! What a pod's parts are started with: the sidecar's and the wrapper's flags, as the injector writes them.
//!
//! The sidecar is the image's entry point, so that the injector sets `args` alone:
//! `pod --capture=LAYERS [--spool=MIB] [--gateway] [--provider=NAME=URL,SHAPE]… [--upstream=HOST=URL]… [--upstream-ca=FILE]`, and for a trial
//! `[--input=FILE] [--input-env=NAME] --output=FILE --timeout=SECONDS [--wrapped]`. Each flag is one argument with `=`. What is not said by flags comes
//! from [`crate::names`] (folders, ports, environment) and from the hub ([`crate::trial::Assignment`]). Where the pod had a proxy of its own, it
//! stands in the sidecar's `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`: the way to upstreams, never to the hub.
//!
//! The exchange volume is mounted at [`EXCHANGE_DIR`] in the sidecar and in the agent's container, so that both name the files in it alike. Where an input
//! or output file lies elsewhere for the agent, the volume's folder [`INPUT_FOLDER`] or [`OUTPUT_FOLDER`] is mounted there by `subPath`; the sidecar
//! is told the path under [`EXCHANGE_DIR`], and makes the file's folder with mode 0777 before it is ready (the agent may be any user).
//!
//! The wrapper is `agentrun-wrap [--stdin=FILE] [--stdout=FILE] --timeout=SECONDS -- COMMAND…`: it takes variables from
//! [`TRIAL_ENV_FILE`](crate::names::TRIAL_ENV_FILE) in [`EXCHANGE_DIR`], feeds `--stdin`, copies stdout to `--stdout` as well, forwards signals,
//! ends the command after `--timeout` (SIGTERM, 5 s later SIGKILL) and exits with [`TIMEOUT_CODE`] then, with
//! [`SIDECAR_LOST_CODE`] beside a sidecar that had died, and else as the command did.
//!
//! A scoring pod has the same two programs: the sidecar `score`, and `agentrun-wrap --score=SOCKET -- COMMAND…`, where `SOCKET` is
//! [`SCORE_SOCKET`](crate::names::SCORE_SOCKET) in [`EXCHANGE_DIR`]. The command reads a question a line on stdin and prints an answer a line.
//! The sidecar is ready once the socket is there. When the command has ended, the wrapper asks it for [`SCORED_PATH`](crate::names::SCORED_PATH) and waits
//! while that is answered with 202: 200 means that the hub has every score, 422 that an answer was of no use, 409 that answers are missing, 408 that one
//! took too long (a sentence is in the body of each), and 404 that no command is known, as the sidecar was started anew. The wrapper fails on all but
//! 200. It asks while the command runs too, and ends the command on 408.
//!
//! [`EXCHANGE_DIR`]: crate::names::EXCHANGE_DIR

/// The sidecar's subcommand in a pod.
pub const COMMAND: &str = "pod";
/// `connect`, `dns`, `base-url`, comma-separated: the entrances that are open.
pub const CAPTURE: &str = "--capture";
/// MiB of records that may wait for the hub.
pub const SPOOL: &str = "--spool";
/// Serves AgentOpt's control plane on [`GATEWAY_PORT`](crate::names::GATEWAY_PORT).
pub const GATEWAY: &str = "--gateway";
/// `NAME=URL,SHAPE`, SHAPE in lower case: one more LLM host.
pub const PROVIDER: &str = "--provider";
/// `HOST=URL`: where a host is really answered.
pub const UPSTREAM: &str = "--upstream";
/// A PEM file with roots: trusted upstream, and part of the agents' bundle.
pub const UPSTREAM_CA: &str = "--upstream-ca";
/// Where the datapoint's input is written, an absolute path in the sidecar.
pub const INPUT: &str = "--input";
/// The variable that hands the input over, through [`crate::trial::Handover`].
pub const INPUT_ENV: &str = "--input-env";
/// Where the agent's output is collected, an absolute path in the sidecar.
pub const OUTPUT: &str = "--output";
/// Seconds that the agent may take.
pub const TIMEOUT: &str = "--timeout";
/// The agent's command is wrapped: its end shows in [`EXIT_FILE`](crate::names::EXIT_FILE).
pub const WRAPPED: &str = "--wrapped";

/// The wrapper: the file that is the command's standard input.
pub const WRAP_STDIN: &str = "--stdin";
/// The wrapper: the file that standard output is copied to.
pub const WRAP_STDOUT: &str = "--stdout";
/// The sidecar's subcommand in a scoring pod.
pub const SCORE_COMMAND: &str = "score";
/// The wrapper: the socket that is the command's standard input and output.
pub const WRAP_SCORE: &str = "--score";
/// The wrapper's exit code where the command took longer than it may.
pub const TIMEOUT_CODE: i32 = 124;
/// The wrapper's exit code where the sidecar had died beside the command: it cannot be blamed, or its output not be taken, and it is tried again.
pub const SIDECAR_LOST_CODE: i32 = 213;

/// Folder of the exchange volume for an input that the agent reads elsewhere.
pub const INPUT_FOLDER: &str = ".input";
/// Folder of the exchange volume for an output that the agent writes elsewhere.
pub const OUTPUT_FOLDER: &str = ".output";
/// The file in [`ROOTS_DIR`](crate::names::ROOTS_DIR) that `spec.trust` becomes.
pub const ROOTS_FILE: &str = "roots.pem";
