//! What becomes of a pod that is to be tracked. Pure: a pod as JSON goes in, operations on that JSON come out.
//!
//! [`inject`] is used on the operator's own Job templates ([`trial::template`]), by the webhook on labelled pods, and offline by `agentrun inject`.
//! It works on JSON and never on types, so that fields which are newer than this program survive, and it builds its few operations by hand.
//! `inject(inject(pod)) == inject(pod)`: webhooks that run after ours may have ours called again, and what they added is then completed.

mod capture;
mod clash;
mod config;
mod env;
mod patch;
mod pod;
mod proxy;
mod reason;
pub mod security;
mod sidecar;
mod spool;
#[cfg(test)]
mod tests;
pub mod trial;

use agentrun_crds::network::CaptureMode;
use agentrun_protocol::names::{
    CAPTURE_ANNOTATION, EXCHANGE_VOLUME, GATEWAY_ANNOTATION, HUB_CA_ENV, INJECTED_ANNOTATION, JAVA_ANNOTATION, PROXY_POLICY_ANNOTATION,
    TRUST_DIR, TRUST_VOLUME,
};
use serde_json::{Value, json};

pub use config::{Exchange, InjectConfig, Installation, ProxyPolicy, Resources, Settings, parse_layers, shape_of};
pub use patch::Operation;
pub use reason::{Owner, Reason, Refusal, Verdict};

use self::config::layer_name;
use self::patch::Patch;
use self::pod::{annotation, containers, items, text};
use self::proxy::Chain;

/// Kubernetes' annotation for the container that `kubectl logs` and `exec` mean.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// The form of what [`INJECTED_ANNOTATION`] says.
const VERSION: u32 = 1;
/// The most of the author's variables that the annotation names.
const MAX_OVERRIDES: usize = 100;
/// The most warnings of one pod.
const MAX_WARNINGS: usize = 20;
/// The longest warning, in characters: what Kubernetes advises.
const MAX_WARNING: usize = 120;

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The sidecar is put in.
    Injected(Injection),
    /// The pod is admitted without it.
    Skipped {
        /// Why.
        refusal: Refusal,
        /// What is to be changed nevertheless: an annotation that says why, or nothing.
        operations: Vec<Operation>,
    },
    /// The pod is denied.
    Refused(Refusal),
}

/// A pod with its sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// The whole pod.
    pub pod: Value,
    /// What makes it of the pod that was given: a JSON Patch.
    pub operations: Vec<Operation>,
    /// What the author should know, each at most 120 characters.
    pub warnings: Vec<String>,
    /// The capture layers, as in `connect`.
    pub layers: Vec<&'static str>,
    /// The author's variables that no longer count, as in `agent/SSL_CERT_FILE`.
    pub overrides: Vec<String>,
}

/// Puts the sidecar into a pod, or says why not. `pod` needs `spec` and may have `metadata`, as a Pod or a pod template has.
pub fn inject(pod: &Value, config: &InjectConfig) -> Outcome {
    match attempt(pod, config) {
        Ok(injection) if injection.operations.is_empty() => {
            let refusal = Refusal::new(Reason::AlreadyInjected, "the pod carries the sidecar already");
            Outcome::Skipped { refusal, operations: Vec::new() }
        }
        Ok(injection) => Outcome::Injected(injection),
        Err(refusal) => match refusal.reason.verdict(config.owner) {
            Verdict::Deny => Outcome::Refused(refusal),
            Verdict::Skip => {
                let operations = if refusal.reason == Reason::HostNetwork { skip_note(pod, refusal.reason) } else { Vec::new() };
                Outcome::Skipped { refusal, operations }
            }
        },
    }
}

fn attempt(pod: &Value, config: &InjectConfig) -> Result<Injection, Refusal> {
    pod::check(pod)?;
    let before = pod::injected(pod).filter(|_| pod::sidecar(pod).is_some());
    let settings = settings(pod, config, before.as_ref())?;
    let hosts = capture::hosts(&settings)?;
    clash::check(pod, &settings, before.is_some(), config.exchange.is_some())?;
    let own = containers(pod);
    let chain = proxy::chain(&own, &settings, &hosts)?;
    let dns = settings.has(CaptureMode::Dns).then(|| capture::dns(&pod["spec"], &own, &settings, &hosts)).transpose()?.unwrap_or_default();

    let mut work = Work { patch: Patch::new(pod), warnings: dns.warnings, overrides: Vec::new() };
    match pod::sidecar(pod).filter(|_| before.is_some()) {
        Some(index) => work.keep_sidecar(index, config, &chain)?,
        None => {
            let container = sidecar::container(config, &settings, &chain, bounded(pod));
            work.patch.prepend(&["spec", "initContainers"], vec![container]);
            work.patch.append(&["spec", "volumes"], sidecar::volumes(config, &settings));
        }
    }
    work.containers(&settings, &hosts);
    if let Some(sysctl) = dns.sysctl {
        work.patch.ensure_object(&["spec", "securityContext"]);
        work.patch.append(&["spec", "securityContext", "sysctls"], vec![sysctl]);
    }
    work.patch.append(&["spec", "hostAliases"], dns.alias.into_iter().collect());
    work.annotate(&settings, &chain, before.as_ref());
    Ok(work.done(&settings))
}

/// Whether a pod carries the sidecar by this injector. It tells its own settings: what is given beside it does not count.
pub fn is_injected(pod: &Value) -> bool {
    pod::injected(pod).is_some() && pod::sidecar(pod).is_some()
}

/// The run's settings, and what the pod's annotations say otherwise. A pod that was injected keeps its own.
fn settings(pod: &Value, config: &InjectConfig, before: Option<&Value>) -> Result<Settings, Refusal> {
    let mut settings = config.settings.clone();
    let bad = |name: &str, why: String| Refusal::new(Reason::BadAnnotation, format!("annotation {name}: {why}"));
    if let Some(text) = annotation(pod, CAPTURE_ANNOTATION).filter(|_| config.owner == Owner::Other) {
        settings.capture = parse_layers(text).map_err(|why| bad(CAPTURE_ANNOTATION, why))?;
    }
    if let Some(text) = annotation(pod, PROXY_POLICY_ANNOTATION) {
        settings.proxy = text.parse().map_err(|why| bad(PROXY_POLICY_ANNOTATION, why))?;
    }
    for (name, switch) in [(JAVA_ANNOTATION, &mut settings.java), (GATEWAY_ANNOTATION, &mut settings.gateway)] {
        match annotation(pod, name) {
            None | Some("") => {}
            Some("true") => *switch = true,
            Some("false") => *switch = false,
            Some(other) => return Err(bad(name, format!("`{}` is neither true nor false", other.escape_debug()))),
        }
    }
    // A trial is one datapoint, and its calls are the trial's.
    settings.gateway &= config.owner == Owner::Other;
    if let Some(before) = before {
        sidecar::recall(pod, &mut settings);
        let names: Vec<&str> = items(before, "layers").iter().filter_map(Value::as_str).collect();
        settings.capture = parse_layers(&names.join(",")).map_err(|why| bad(INJECTED_ANNOTATION, why))?;
    }
    if settings.capture.is_empty() {
        return Err(Refusal::new(Reason::BadSettings, "spec.capture names no layer: write at least one of Connect, Dns, BaseUrl"));
    }
    Ok(settings)
}

/// Whether every container bounds its disk.
fn bounded(pod: &Value) -> bool {
    containers(pod).iter().all(|container| container.value.pointer("/resources/limits/ephemeral-storage").is_some())
}

struct Work {
    patch: Patch,
    warnings: Vec<String>,
    overrides: Vec<String>,
}

impl Work {
    /// A sidecar that is there stays as it is, as others may have changed it on purpose. It must be first, know the hub's current
    /// certificates (a Job's template cannot be changed, its pods can), and have the way out that later containers name.
    fn keep_sidecar(&mut self, index: usize, config: &InjectConfig, chain: &Chain) -> Result<(), Refusal> {
        const LIST: [&str; 2] = ["spec", "initContainers"];
        if index > 0
            && let Some(container) = self.patch.take(&LIST, index)
        {
            self.patch.prepend(&LIST, vec![container]);
        }
        let env = ["spec", "initContainers", "0", "env"];
        let variables = items(&self.patch.document["spec"]["initContainers"][0], "env").to_vec();
        let position = |name: &str| variables.iter().position(|variable| text(variable, "name") == name);
        let ca = &config.installation.hub_ca;
        if let Some(place) = position(HUB_CA_ENV).filter(|place| !ca.is_empty() && text(&variables[*place], "value") != ca) {
            self.patch.replace(&[&env[..], &[place.to_string().as_str(), "value"]].concat(), json!(ca));
        }
        let mut newly = false;
        for variable in &chain.variables {
            let exceptions = text(variable, "name") == "NO_PROXY";
            match position(text(variable, "name")) {
                // Exceptions come last and belong to the proxy before them.
                None if exceptions && !newly => {}
                None => {
                    newly = true;
                    self.patch.append(&env, vec![variable.clone()]);
                }
                Some(place) if variables[place] == *variable || exceptions => {}
                Some(_) => {
                    let message = "a container was added that names another proxy than the sidecar's: choose one, or Override";
                    return Err(Refusal::new(Reason::ProxyConflict, message));
                }
            }
        }
        Ok(())
    }

    /// Environment and certificates for every container of the pod's.
    fn containers(&mut self, settings: &Settings, hosts: &agentrun_llm::provider::Hosts) {
        let document = self.patch.document.clone();
        for container in containers(&document) {
            let index = container.index.to_string();
            let at = ["spec", container.list, index.as_str()];
            let edits = env::edits(&container, settings, hosts);
            let env = [&at[..], &["env"]].concat();
            for (place, variable) in edits.replaced {
                self.patch.replace(&[&env[..], &[place.to_string().as_str()]].concat(), variable);
            }
            self.patch.prepend(&env, edits.added);
            if !container.mounts().iter().any(|mount| text(mount, "name") == TRUST_VOLUME) {
                let mount = json!({"name": TRUST_VOLUME, "mountPath": TRUST_DIR, "readOnly": true});
                self.patch.append(&[&at[..], &["volumeMounts"]].concat(), vec![mount]);
            }
            self.overrides.extend(edits.overridden.into_iter().map(|name| format!("{}/{name}", container.name)));
            self.warnings.extend(edits.warnings);
        }
    }

    fn annotate(&mut self, settings: &Settings, chain: &Chain, before: Option<&Value>) {
        let first = items(&self.patch.document["spec"], "containers").first().map(|container| text(container, "name").to_owned());
        let earlier = before.map(|before| items(before, "overrides")).unwrap_or_default();
        let mut overrides: Vec<String> = earlier.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        overrides.extend(self.overrides.iter().filter(|name| !earlier.iter().any(|earlier| earlier == name.as_str())).cloned());
        overrides.truncate(MAX_OVERRIDES);
        let mut note = json!({"v": VERSION, "layers": layers(settings), "overrides": overrides});
        if !chain.variables.is_empty() || before.is_some_and(|before| before.get("chained").is_some()) {
            note["chained"] = json!(true);
        }
        if before != Some(&note) {
            self.annotation(INJECTED_ANNOTATION, note.to_string());
        }
        if let Some(first) = first.filter(|_| annotation(&self.patch.document, DEFAULT_CONTAINER).is_none()) {
            self.annotation(DEFAULT_CONTAINER, first);
        }
        if !chain.variables.is_empty() && before.is_none() {
            self.warnings.push("the pod's own proxy is now the sidecar's way out (annotation agentrun.dev/proxy-policy: Chain)".to_owned());
        }
    }

    fn annotation(&mut self, name: &str, value: String) {
        self.patch.ensure_object(&["metadata"]);
        self.patch.ensure_object(&["metadata", "annotations"]);
        self.patch.add(&["metadata", "annotations", name], Value::String(value));
    }

    fn done(self, settings: &Settings) -> Injection {
        let Patch { document, operations } = self.patch;
        Injection { pod: document, operations, warnings: told(self.warnings), layers: layers(settings), overrides: self.overrides }
    }
}

fn layers(settings: &Settings) -> Vec<&'static str> {
    let order = [CaptureMode::Connect, CaptureMode::Dns, CaptureMode::BaseUrl];
    order.into_iter().filter(|layer| settings.has(*layer)).map(layer_name).collect()
}

fn skip_note(pod: &Value, reason: Reason) -> Vec<Operation> {
    let note = json!({"v": VERSION, "skipped": reason.name()}).to_string();
    if annotation(pod, INJECTED_ANNOTATION) == Some(note.as_str()) {
        return Vec::new();
    }
    let mut work = Work { patch: Patch::new(pod), warnings: Vec::new(), overrides: Vec::new() };
    work.annotation(INJECTED_ANNOTATION, note);
    work.patch.operations
}

/// Warnings as the API server takes them: few, short, on one line.
pub(crate) fn told(warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    let mut told: Vec<String> = warnings.into_iter().take(MAX_WARNINGS).map(|warning| shortened(&warning)).collect();
    if more > 0 {
        told.push(format!("and {more} more warnings"));
    }
    told
}

/// A warning of at most [`MAX_WARNING`] characters without line ends.
pub(crate) fn shortened(warning: &str) -> String {
    let plain = warning.chars().map(|character| if character.is_control() { ' ' } else { character });
    let text: String = plain.clone().take(MAX_WARNING).collect();
    match plain.count() > MAX_WARNING {
        true => text.chars().take(MAX_WARNING - 1).chain(['…']).collect(),
        false => text,
    }
}

/// The volume through which a trial hands over; its author may not have one of the same name.
pub(crate) fn exchange_volume() -> Value {
    json!({"name": EXCHANGE_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": sidecar::EXCHANGE_SIZE}})
}
