//! The pod template of a trial's Job: the author's, with what a trial adds to it, injected.

use agentrun_crds::AgentRunSpec;
use agentrun_crds::agent::{Input, Output};
use agentrun_eval::combo::Combo;
use agentrun_protocol::names::{
    CHUNK_LABEL, COMBO_ID_ANNOTATION, COMBO_LABEL, EXCHANGE_DIR, EXCHANGE_VOLUME, EXIT_FILE, MANAGED_BY_LABEL, MANAGER, RESTARTED_FILE,
    RUN_LABEL, SCORE_SOCKET, TRIAL_ENV_FILE, TRIAL_FILE, TRUST_DIR, WRAPPER_FILE,
};
use agentrun_protocol::pod::{INPUT, INPUT_ENV, INPUT_FOLDER, OUTPUT, OUTPUT_FOLDER, TIMEOUT, WRAP_STDIN, WRAP_STDOUT, WRAPPED};
use serde_json::{Map, Value, json};

use super::config::{Exchange, InjectConfig, Installation, Settings};
use super::patch::Patch;
use super::pod::{self, Container, items, text};
use super::reason::{Owner, Reason, Refusal};
use super::{DEFAULT_CONTAINER, Outcome, clash, exchange_volume, inject};

/// Seconds that a trial's sidecar has to bring its records to a hub that is away for a minute.
const GRACE_SECONDS: i64 = 75;
/// Seconds beyond the agent's own until Kubernetes ends the pod: for image pulls and the sidecar's start and end.
pub const DEADLINE_MARGIN: i64 = 120;

/// Which trials a template is for: those of one Job.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// The AgentRun's name.
    pub run: &'a str,
    /// Its spec.
    pub spec: &'a AgentRunSpec,
    /// The combo's index in the run.
    pub combo_index: usize,
    /// The combo.
    pub combo: &'a Combo,
    /// The chunk's index.
    pub chunk: u64,
}

/// A Job's pod template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// `metadata` and `spec`.
    pub template: Value,
    /// The agent's container, for `podFailurePolicy`.
    pub container: String,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// The finished pod template of a trial's Job.
///
/// # Errors
/// The template is of no use for trials, or no sidecar can be put into it.
pub fn template(trial: &Trial<'_>, installation: &Installation) -> Result<Template, Refusal> {
    let author = &trial.spec.template.0;
    pod::check(author)?;
    let agent = agent(trial.spec)?;
    let plan = Plan::of(trial.spec, &agent, author)?;
    let mut patch = Patch::new(author);
    let mut warnings = Vec::new();
    metadata(&mut patch, trial);
    patch.ensure_object(&["metadata", "annotations"]);
    if pod::annotation(&patch.document, DEFAULT_CONTAINER).is_none() {
        patch.add(&["metadata", "annotations", DEFAULT_CONTAINER], json!(agent.name));
    }
    pod_spec(&mut patch, trial.spec, &mut warnings);
    agent_container(&mut patch, trial, &agent, &plan);
    let config = InjectConfig {
        installation: installation.clone(),
        settings: Settings::of(trial.spec, Owner::Run),
        owner: Owner::Run,
        exchange: Some(Exchange { flags: plan.flags }),
    };
    match inject(&patch.document, &config) {
        Outcome::Injected(injection) => {
            warnings.extend(injection.warnings);
            Ok(Template { template: injection.pod, container: agent.name, warnings })
        }
        Outcome::Skipped { refusal, .. } | Outcome::Refused(refusal) => Err(refusal),
    }
}

struct Agent {
    index: usize,
    name: String,
    command: Vec<Value>,
}

/// The container that `agent.container` names, or the only one.
fn agent(spec: &AgentRunSpec) -> Result<Agent, Refusal> {
    let list = items(&spec.template.0["spec"], "containers");
    let no = |message: String| Refusal::new(Reason::NoAgentContainer, message);
    let index = match &spec.agent.container {
        Some(name) => list.iter().position(|container| text(container, "name") == name).ok_or_else(|| {
            let names: Vec<&str> = list.iter().map(|container| text(container, "name")).collect();
            no(format!("spec.agent.container: the template has no container `{name}`: its containers are {}", names.join(", ")))
        })?,
        None if list.len() == 1 => 0,
        None => return Err(no(format!("the template has {} containers: name the agent's in spec.agent.container", list.len()))),
    };
    Ok(Agent { index, name: text(&list[index], "name").to_owned(), command: items(&list[index], "command").to_vec() })
}

/// How input and output go from hand to hand.
struct Plan {
    /// The sidecar's flags.
    flags: Vec<String>,
    /// The wrapper's flags; empty where nothing is wrapped.
    wrapper: Vec<String>,
    /// Mounts of the exchange volume in the agent's container.
    mounts: Vec<Value>,
    /// What the agent is told of its files.
    variables: Vec<Value>,
}

impl Plan {
    fn of(spec: &AgentRunSpec, agent: &Agent, pod: &Value) -> Result<Self, Refusal> {
        let timeout = format!("{TIMEOUT}={}", spec.agent.timeout_seconds);
        let mut plan = Self { flags: Vec::new(), wrapper: Vec::new(), mounts: Vec::new(), variables: Vec::new() };
        let wrapped = !agent.command.is_empty();
        let needs_wrapper = |way: &str| {
            let message = format!("`{way}` needs `command` on container {}: an image's own entry point cannot be wrapped", agent.name);
            if wrapped { Ok(()) } else { Err(Refusal::new(Reason::NoCommand, message)) }
        };
        let (input, output) = (spec.agent.input.way(), spec.agent.output.way());
        if let (Input::File(input), Output::File(output)) = (input, output)
            && input == output
        {
            return Err(Refusal::new(Reason::FilePlace, format!("spec.agent: `{input}` is both input and output: use two files")));
        }
        let inside = |name: &str| format!("{EXCHANGE_DIR}/{name}");
        plan.mounts.push(json!({"name": EXCHANGE_VOLUME, "mountPath": EXCHANGE_DIR}));
        match input {
            Input::File(path) => {
                let place = plan.place(path, INPUT_FOLDER, "spec.agent.input.file")?;
                plan.flags.push(format!("{INPUT}={place}"));
                plan.variables.push(json!({"name": "AGENTRUN_INPUT_FILE", "value": path}));
            }
            Input::Stdin => {
                needs_wrapper("stdin")?;
                plan.flags.push(format!("{INPUT}={}", inside("input")));
                plan.wrapper.push(format!("{WRAP_STDIN}={}", inside("input")));
            }
            Input::Env(name) => {
                needs_wrapper("env")?;
                plan.flags.push(format!("{INPUT_ENV}={name}"));
            }
        }
        match output {
            Output::File(path) => {
                let place = plan.place(path, OUTPUT_FOLDER, "spec.agent.output.file")?;
                plan.flags.push(format!("{OUTPUT}={place}"));
                plan.variables.push(json!({"name": "AGENTRUN_OUTPUT_FILE", "value": path}));
            }
            Output::Stdout => {
                needs_wrapper("stdout")?;
                plan.flags.push(format!("{OUTPUT}={}", inside("output")));
                plan.wrapper.push(format!("{WRAP_STDOUT}={}", inside("output")));
            }
        }
        plan.flags.push(timeout.clone());
        if wrapped {
            plan.flags.push(WRAPPED.to_owned());
            plan.wrapper.push(timeout);
        }
        plan.check_mounts(agent, pod)?;
        Ok(plan)
    }

    /// Where a file lies for the sidecar; for the agent, a folder of the volume is mounted where the file is to be.
    fn place(&mut self, path: &str, folder: &str, field: &str) -> Result<String, Refusal> {
        let refused = |why: String| Refusal::new(Reason::FilePlace, format!("{field}: `{}`: {why}", path.escape_debug()));
        if !path.starts_with('/') || path.ends_with('/') || path.contains(':') || path.contains('\0') || path.contains("$(") {
            return Err(refused("write an absolute path without `:` and `$(`".to_owned()));
        }
        if path[1..].split('/').any(|step| matches!(step, "" | "." | "..")) {
            return Err(refused("write it without `.`, `..` and doubled slashes".to_owned()));
        }
        let (parent, name) = path.rsplit_once('/').expect("the path begins with a slash");
        if let Some(rest) = path.strip_prefix(EXCHANGE_DIR).and_then(|rest| rest.strip_prefix('/')) {
            let first = rest.split('/').next().unwrap_or_default();
            if [TRIAL_FILE, TRIAL_ENV_FILE, EXIT_FILE, RESTARTED_FILE, SCORE_SOCKET, INPUT_FOLDER, OUTPUT_FOLDER].contains(&first) {
                return Err(refused(format!("`{first}` is used for the trial's own files: choose another name")));
            }
            return Ok(path.to_owned());
        }
        if let Some(why) = hidden(parent) {
            return Err(refused(why));
        }
        let mounted = self.mounts.iter().find(|mount| text(mount, "mountPath") == parent).map(|mount| text(mount, "subPath").to_owned());
        let folder = mounted.unwrap_or_else(|| {
            self.mounts.push(json!({"name": EXCHANGE_VOLUME, "mountPath": parent, "subPath": folder}));
            folder.to_owned()
        });
        Ok(format!("{EXCHANGE_DIR}/{folder}/{name}"))
    }

    /// Nothing of the author's may lie where the exchange volume is mounted, nor be hidden by it.
    fn check_mounts(&self, agent: &Agent, pod: &Value) -> Result<(), Refusal> {
        let value = &items(&pod["spec"], "containers")[agent.index];
        let container = Container { list: "containers", index: agent.index, name: &agent.name, value };
        for own in self.mounts.iter().map(|mount| text(mount, "mountPath")) {
            for (index, mount) in container.mounts().iter().enumerate() {
                let path = text(mount, "mountPath").trim_end_matches('/');
                let below = path == own || path.starts_with(&format!("{own}/"));
                let above = own.starts_with(&format!("{path}/")) && clash::read_only(&pod["spec"], mount);
                if below || above {
                    let at = container.at();
                    let message = format!("{at}.volumeMounts[{index}] is mounted at `{path}`, where `{own}` must be for input and output");
                    return Err(Refusal::new(Reason::MountPathClash, message));
                }
            }
            let words = [text(container.value, "workingDir")].into_iter();
            let words = words.chain(["command", "args"].into_iter().flat_map(|key| items(container.value, key)).filter_map(Value::as_str));
            for word in words.filter(|word| **word == *own || word.starts_with(&format!("{own}/"))) {
                if own != EXCHANGE_DIR {
                    let message =
                        format!("a volume at `{own}` for input and output would hide `{}`: use another folder", word.escape_debug());
                    return Err(Refusal::new(Reason::FilePlace, message));
                }
            }
        }
        Ok(())
    }
}

/// Why no volume can be mounted at a folder: the image needs what is in it.
fn hidden(folder: &str) -> Option<String> {
    const WHOLE: [&str; 11] = ["/proc", "/sys", "/dev", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot", "/etc/ssl"];
    const ITSELF: [&str; 15] = [
        "",
        "/etc",
        "/var",
        "/var/lib",
        "/var/run",
        "/var/cache",
        "/var/log",
        "/run",
        "/run/secrets",
        "/var/run/secrets",
        "/home",
        "/root",
        "/opt",
        "/srv",
        "/etc/pki",
    ];
    const OURS: &str = "/var/run/agentrun";
    let below = |outer: &str| folder == outer || folder.starts_with(&format!("{outer}/"));
    if ITSELF.contains(&folder) || WHOLE.into_iter().any(below) {
        let folder = if folder.is_empty() { "/" } else { folder };
        return Some(format!("a volume at `{folder}` would hide what the image needs: use a folder of its own, such as {EXCHANGE_DIR}"));
    }
    below(OURS).then(|| format!("{OURS} is the injector's: use another folder"))
}

fn metadata(patch: &mut Patch, trial: &Trial<'_>) {
    patch.ensure_object(&["metadata"]);
    patch.ensure_object(&["metadata", "labels"]);
    let labels = [
        (RUN_LABEL, trial.run.to_owned()),
        (COMBO_LABEL, trial.combo_index.to_string()),
        (CHUNK_LABEL, trial.chunk.to_string()),
        (MANAGED_BY_LABEL, MANAGER.to_owned()),
    ];
    for (name, value) in labels {
        patch.add(&["metadata", "labels", name], Value::String(value));
    }
    patch.ensure_object(&["metadata", "annotations"]);
    patch.add(&["metadata", "annotations", COMBO_ID_ANNOTATION], Value::String(trial.combo.id.clone()));
}

fn pod_spec(patch: &mut Patch, spec: &AgentRunSpec, warnings: &mut Vec<String>) {
    let policy = text(&patch.document["spec"], "restartPolicy").to_owned();
    if !policy.is_empty() && policy != "Never" {
        warnings.push("template: restartPolicy is Never for trials: an agent is not started twice in one pod".to_owned());
    }
    patch.add(&["spec", "restartPolicy"], json!("Never"));
    let deadline = i64::from(spec.agent.timeout_seconds) + DEADLINE_MARGIN;
    let own = patch.document["spec"].get("activeDeadlineSeconds").and_then(Value::as_i64).filter(|own| *own > 0);
    patch.add(&["spec", "activeDeadlineSeconds"], json!(own.map_or(deadline, |own| own.min(deadline))));
    if patch.document["spec"].get("terminationGracePeriodSeconds").is_none_or(Value::is_null) {
        patch.add(&["spec", "terminationGracePeriodSeconds"], json!(GRACE_SECONDS));
    }
    patch.append(&["spec", "volumes"], vec![exchange_volume()]);
}

fn agent_container(patch: &mut Patch, trial: &Trial<'_>, agent: &Agent, plan: &Plan) {
    let index = agent.index.to_string();
    let at = ["spec", "containers", index.as_str()];
    let there: Vec<String> =
        items(&patch.document["spec"]["containers"][agent.index], "env").iter().map(|variable| text(variable, "name").to_owned()).collect();
    let literal = |name: &str, value: &str| json!({"name": name, "value": escaped(value)});
    let mut variables = vec![literal("AGENTRUN_RUN", trial.run), literal("AGENTRUN_COMBO_ID", &trial.combo.id)];
    for role in &trial.spec.roles {
        variables.extend(trial.combo.models.get(&role.name).map(|model| literal(&role.env_name(), model)));
    }
    variables.extend(plan.variables.iter().cloned());
    variables.retain(|variable| !there.iter().any(|name| name == text(variable, "name")));
    patch.prepend(&[&at[..], &["env"]].concat(), variables);
    patch.append(&[&at[..], &["volumeMounts"]].concat(), plan.mounts.clone());
    // Its pod goes soon after it failed: what its log said last is kept with the failure.
    let policy = [&at[..], &["terminationMessagePolicy"]].concat();
    if patch.document["spec"]["containers"][agent.index].get("terminationMessagePolicy").is_none() {
        patch.add(&policy, json!("FallbackToLogsOnError"));
    }
    if !agent.command.is_empty() {
        let mut command = vec![json!(format!("{TRUST_DIR}/{WRAPPER_FILE}"))];
        command.extend(plan.wrapper.iter().map(|flag| json!(flag)));
        command.push(json!("--"));
        command.extend(agent.command.iter().cloned());
        patch.add(&[&at[..], &["command"]].concat(), Value::Array(command));
    }
}

/// Kubernetes would read `$(NAME)` in a value as another variable.
fn escaped(value: &str) -> String {
    value.replace("$(", "$$(")
}

/// A pod made of a template, as the API server is asked whether it would take it.
pub fn pod(template: &Value, name: &str) -> Value {
    let mut metadata = template.get("metadata").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    metadata.insert("generateName".to_owned(), json!(format!("{name}-")));
    // Policies forbid pods that nobody looks after; a Job, which is not made yet, looks after a trial's.
    let job =
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "00000000-0000-0000-0000-000000000000", "controller": true});
    metadata.insert("ownerReferences".to_owned(), json!([job]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec").cloned().unwrap_or_default()})
}
