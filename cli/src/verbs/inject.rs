//! `agentrun inject`: what the webhook or the operator would make of a manifest, without a cluster.

mod documents;

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use agentrun_operator::inject::{
    InjectConfig, Injection, Installation, Outcome, Owner, Settings, inject,
    security::{self, Level},
    trial::{self, Trial},
};
use agentrun_protocol::names::RUN_LABEL;
use anyhow::Context as _;
use serde_json::{Value, json};
use similar::TextDiff;

use self::documents::Template;
use super::{COMPLETE, Context, Refused};
use crate::args::{self, InjectOutput};

/// The largest manifest that is read.
const MOST_BYTES: u64 = 8 << 20;
/// The most violations that are told of one pod.
const MOST_VIOLATIONS: usize = 20;

/// Injects every pod and pod template of a file, and shows what changes.
pub(crate) fn run(arguments: args::Inject, context: &Context) -> anyhow::Result<u8> {
    let text = read(&arguments.file)?;
    let before = documents::read(&text).map_err(|error| Refused(format!("{}: {error}", arguments.file.display())))?;
    let installation = installation(&arguments)?;
    let mut after = Vec::with_capacity(before.len());
    let mut refused = Vec::new();
    for document in &before {
        match injected(document, &arguments, &installation, context) {
            Ok(changed) => after.push(changed),
            Err(why) => refused.push(format!("{}: {why}", documents::title(document))),
        }
    }
    if !refused.is_empty() {
        return Err(Refused(refused.join("\n")).into());
    }
    let data = match arguments.output {
        InjectOutput::Yaml => documents::yaml(&after)?,
        InjectOutput::Json => documents::json(&after),
        InjectOutput::Diff => differences(&before, &after)?,
    };
    context.printer.data(data.as_bytes())?;
    Ok(COMPLETE)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let failed = |error| Refused(format!("reading {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    source.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Refused(format!("{}: the manifest is larger than {} MiB", path.display(), MOST_BYTES >> 20)).into());
    }
    let text = String::from_utf8(bytes).map_err(|_| Refused(format!("{}: the file is not UTF-8", path.display())))?;
    Ok(text)
}

fn installation(arguments: &args::Inject) -> anyhow::Result<Installation> {
    let mut installation = Installation::default();
    if let Some(image) = &arguments.image {
        installation.image.clone_from(image);
    }
    if let Some(url) = &arguments.hub_url {
        installation.hub_url.clone_from(url);
    }
    if let Some(path) = &arguments.hub_ca {
        let text = fs::read_to_string(path).map_err(|error| Refused(format!("--hub-ca: reading {}: {error}", path.display())))?;
        installation.hub_ca = text;
    }
    Ok(installation)
}

/// The document with its sidecar; what is to be said goes to the printer.
fn injected(document: &Value, arguments: &args::Inject, installation: &Installation, context: &Context) -> Result<Value, String> {
    let title = documents::title(document);
    let printer = &context.printer;
    let at = match documents::template(document) {
        Template::None => {
            printer.note(&format!("{title}: no pod, left as it is"));
            return Ok(document.clone());
        }
        Template::Trial => return trial(document, installation, context),
        Template::At(pointer) => pointer,
    };
    let mut pod = document.pointer(at).cloned().ok_or("the pod's template is missing")?;
    let label = format!("/metadata/labels/{}", RUN_LABEL.replace('/', "~1"));
    match (&arguments.run, pod.pointer(&label)) {
        (Some(run), None) => add_label(&mut pod, run)?,
        (None, None) => {
            printer.warning(&format!("{title}: in a cluster only pods with label {RUN_LABEL} are injected: add it, or --run NAME"))
        }
        (_, Some(_)) => {}
    }
    let mut settings = Settings::plain();
    if let Some(layers) = &arguments.capture {
        settings.capture.clone_from(&layers.0);
    }
    let config = InjectConfig { installation: installation.clone(), settings, owner: Owner::Other, exchange: None };
    match inject(&pod, &config) {
        Outcome::Refused(refusal) => return Err(refusal.to_string()),
        Outcome::Skipped { refusal, .. } => printer.warning(&format!("{title}: left as it is, {refusal}")),
        Outcome::Injected(Injection { pod: changed, warnings, layers, .. }) => {
            warnings.iter().for_each(|warning| printer.warning(&format!("{title}: {warning}")));
            printer.note(&format!("{title}: capture {}", layers.join(", ")));
            pod = changed;
        }
    }
    verdict(&title, &pod, context);
    let mut document = document.clone();
    match document.pointer_mut(at) {
        Some(place) => *place = pod,
        None => return Err("the pod's template is missing".to_owned()),
    }
    Ok(document)
}

/// An AgentRun stands for the pods of its trials: the first combo's is shown.
fn trial(document: &Value, installation: &Installation, context: &Context) -> Result<Value, String> {
    let title = documents::title(document);
    let run = agentrun_crds::manifest::from_value(document).map_err(|mistakes| {
        let told: Vec<String> = mistakes.told.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect();
        told.join("\n")
    })?;
    let combos = run.spec.combos().map_err(|error| error.to_string())?;
    let combo = combos.get(0).ok_or("there is no combo")?;
    let trial = Trial { run: &run.metadata.name, spec: &run.spec, combo_index: 0, combo: &combo, chunk: 0 };
    let made = trial::template(&trial, installation).map_err(|refusal| refusal.to_string())?;
    made.warnings.iter().for_each(|warning| context.printer.warning(&format!("{title}: {warning}")));
    context.printer.note(&format!("{title}: the pod of combo `{}`, the first of {}", combo.id, combos.len()));
    verdict(&title, &made.template, context);
    let mut document = document.clone();
    document["spec"]["template"] = made.template;
    Ok(document)
}

fn add_label(pod: &mut Value, run: &str) -> Result<(), String> {
    let metadata = pod.as_object_mut().ok_or("the pod is no mapping")?.entry("metadata").or_insert_with(|| json!({}));
    let labels = metadata.as_object_mut().ok_or("the pod's metadata is no mapping")?.entry("labels").or_insert_with(|| json!({}));
    labels.as_object_mut().ok_or("the pod's labels are no mapping")?.insert(RUN_LABEL.to_owned(), json!(run));
    Ok(())
}

/// What Pod Security would say to the pod.
fn verdict(title: &str, pod: &Value, context: &Context) {
    let violations = security::violations(pod);
    let level = security::level(&violations);
    context.printer.note(&format!("{title}: Pod Security: {}", level.name()));
    let strictest = if level == Level::Privileged { Level::Baseline } else { Level::Restricted };
    let told = violations.iter().filter(|violation| violation.level == strictest);
    for violation in told.clone().take(MOST_VIOLATIONS) {
        context.printer.note(&format!("{title}: against {}: {} {}", strictest.name(), violation.field, violation.message));
    }
    if let Some(more) = told.count().checked_sub(MOST_VIOLATIONS).filter(|more| *more > 0) {
        context.printer.note(&format!("{title}: and {more} more"));
    }
}

fn differences(before: &[Value], after: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (before, after) in before.iter().zip(after) {
        let title = documents::title(before);
        let (old, new) = (documents::yaml(std::slice::from_ref(before))?, documents::yaml(std::slice::from_ref(after))?);
        let difference = TextDiff::from_lines(&old, &new);
        text.push_str(&difference.unified_diff().context_radius(3).header(&title, &format!("{title} with its sidecar")).to_string());
    }
    Ok(text)
}

/// Keeps the error of the writer apart from those of the manifest.
pub(super) fn written<T>(result: Result<T, serde_saphyr::SerializeError>) -> anyhow::Result<T> {
    result.context("writing YAML")
}
