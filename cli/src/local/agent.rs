//! The agent as a process: what of a pod template can be had without a cluster.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::environment::Variables;

/// The agent container's command with what belongs to it. Texts are as written: `$(NAME)` is expanded for each trial.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agent {
    /// `command`, then `args`.
    command: Vec<String>,
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// Literal `env`, in order.
    environment: Vec<(String, String)>,
    /// Fields of the template that mean nothing here.
    pub(crate) left_out: Vec<String>,
}

/// A template that cannot be run on this machine. Each message says what to do.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("spec.template.spec.containers: there is no container: add one with the agent's command")]
    NoContainer,
    #[error("spec.agent.container: there are {0} containers: name the agent's")]
    Ambiguous(usize),
    #[error("spec.agent.container: no container of the template is named `{0}`")]
    Unknown(String),
    #[error(
        "spec.template.spec.containers[{0}].command is missing: a process is started here, not an image, so the command must be written out"
    )]
    NoCommand(usize),
    #[error("{0} must be a list of strings: put numbers and booleans in quotes")]
    NotText(String),
    #[error("spec.template.spec.containers[{container}].workingDir: {} is not a folder on this machine", path.display())]
    NoFolder { container: usize, path: PathBuf },
    #[error(
        "spec.template.spec.containers[{container}].command: `{program}` is not a program on this machine: install it, or write its path"
    )]
    NoProgram { container: usize, program: String },
}

impl Agent {
    /// Reads a PodTemplateSpec. `container` names the agent's container where there are several; `home` is the manifest's folder, where a
    /// relative `workingDir` starts and where the agent runs without one.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub(crate) fn read(template: &Value, container: Option<&str>, home: &Path, inherited: &Variables) -> Result<Self, AgentError> {
        let containers = template.pointer("/spec/containers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let index = match (container, containers) {
            (_, []) => return Err(AgentError::NoContainer),
            (None, [_]) => 0,
            (None, several) => return Err(AgentError::Ambiguous(several.len())),
            (Some(name), several) => {
                let named = several.iter().position(|container| container.get("name").and_then(Value::as_str) == Some(name));
                named.ok_or_else(|| AgentError::Unknown(name.to_owned()))?
            }
        };
        let (container, field) = (&containers[index], format!("spec.template.spec.containers[{index}]"));
        let mut command = texts(container, "command", &field)?;
        if command.is_empty() {
            return Err(AgentError::NoCommand(index));
        }
        command.extend(texts(container, "args", &field)?);
        let folder = home.join(container.get("workingDir").and_then(Value::as_str).unwrap_or_default());
        if !folder.is_dir() {
            return Err(AgentError::NoFolder { container: index, path: folder });
        }
        let mut left_out = left_out(template, containers, index);
        let environment = environment(container, &field, &mut left_out);
        let agent = Self { command, folder, environment, left_out };
        // A program whose name depends on the trial is looked up when it is started.
        let program = &agent.command[0];
        if !program.contains("$(") && agent.find(program, inherited).is_none() {
            return Err(AgentError::NoProgram { container: index, program: program.clone() });
        }
        Ok(agent)
    }

    /// The names of the variables that are written in the template.
    pub(crate) fn explicit(&self) -> impl Iterator<Item = &str> {
        self.environment.iter().map(|(name, _)| name.as_str())
    }

    /// The command and its environment for one trial: `under` with the template's literals over it.
    pub(crate) fn start(&self, mut under: Variables) -> (Vec<OsString>, Variables) {
        let mut known: BTreeMap<String, String> =
            under.iter().filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))).collect();
        for (name, value) in &self.environment {
            let value = expand(value, &known);
            under.insert(name.into(), value.clone().into());
            known.insert(name.clone(), value);
        }
        let mut command: Vec<OsString> = self.command.iter().map(|text| expand(text, &known).into()).collect();
        if let Some(found) = command[0].to_str().and_then(|program| self.find(program, &under)) {
            command[0] = found.into();
        }
        (command, under)
    }

    /// Files in the agent's folder that its command names: the agent itself, as far as it can be known.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.command.iter().map(|text| self.folder.join(text)).filter(|path| path.is_file()).collect()
    }

    fn find(&self, program: &str, environment: &Variables) -> Option<PathBuf> {
        let literal = self.environment.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| OsStr::new(path));
        let path = literal.or_else(|| environment.get(OsStr::new("PATH")).map(OsString::as_os_str));
        find_program(program, &self.folder, path)
    }
}

/// The file that a program's name stands for: relative to `folder` where it has a slash, else from `path`.
pub(crate) fn find_program(program: &str, folder: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(folder.join(program)).filter(is_program);
    }
    std::env::split_paths(path?).map(|entry| folder.join(entry).join(program)).find(is_program)
}

fn texts(container: &Value, key: &str, field: &str) -> Result<Vec<String>, AgentError> {
    let refusal = || AgentError::NotText(format!("{field}.{key}"));
    match container.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(refusal)).collect(),
        Some(_) => Err(refusal()),
    }
}

fn environment(container: &Value, field: &str, left_out: &mut Vec<String>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for entry in container.get("env").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            continue;
        };
        match entry.get("value") {
            Some(Value::String(value)) => variables.push((name.to_owned(), value.clone())),
            None | Some(Value::Null) if entry.get("valueFrom").is_none() => variables.push((name.to_owned(), String::new())),
            _ => left_out.push(format!("{field}.env {name}")),
        }
    }
    variables
}

/// The template's fields that a process has no use for, as paths.
fn left_out(template: &Value, containers: &[Value], agent: usize) -> Vec<String> {
    const USED: [&str; 5] = ["name", "command", "args", "workingDir", "env"];
    let keys = |value: &Value, path: &str, used: &[&str]| -> Vec<String> {
        let fields = value.as_object().into_iter().flatten();
        fields.filter(|(key, _)| !used.contains(&key.as_str())).map(|(key, _)| format!("{path}.{key}")).collect()
    };
    let mut left_out = keys(template, "spec.template", &["spec", "metadata"]);
    left_out.extend(template.get("spec").map(|spec| keys(spec, "spec.template.spec", &["containers"])).unwrap_or_default());
    for (index, container) in containers.iter().enumerate() {
        let path = format!("spec.template.spec.containers[{index}]");
        if index == agent {
            left_out.extend(keys(container, &path, &USED));
        } else {
            left_out.push(path);
        }
    }
    left_out
}

/// Expands `$(NAME)` as Kubernetes does: an unknown name stays as it is written, `$$` is `$`.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        expanded.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match known.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inherited() -> Variables {
        [("PATH", "/usr/bin:/bin"), ("LANG", "C")].map(|(name, value)| (name.into(), value.into())).into()
    }

    fn read(template: &Value, container: Option<&str>) -> Result<Agent, AgentError> {
        Agent::read(template, container, Path::new("/"), &inherited())
    }

    #[test]
    fn the_templates_literals_win_and_are_expanded() {
        let template = json!({"spec": {"containers": [{
            "name": "agent",
            "command": ["sh", "-c", "echo $(MODEL) $$(MODEL) $(UNKNOWN) $5"],
            "env": [{"name": "LANG", "value": "de"}, {"name": "MODEL", "value": "$(AGENTRUN_MODEL_SOLVER)!"}, {"name": "EMPTY"}],
        }]}});
        let agent = read(&template, None).unwrap();
        let mut under = inherited();
        under.insert("AGENTRUN_MODEL_SOLVER".into(), "gpt-4.1".into());
        let (command, variables) = agent.start(under);
        assert!(command[0].to_str().unwrap().ends_with("/sh"));
        assert_eq!(command[2], "echo gpt-4.1! $(MODEL) $(UNKNOWN) $5");
        let value = |name: &str| variables[OsStr::new(name)].to_str().unwrap().to_owned();
        assert_eq!([value("LANG"), value("MODEL"), value("EMPTY")], ["de", "gpt-4.1!", ""]);
    }

    #[test]
    fn fields_without_a_use_here_are_told() {
        let template = json!({"metadata": {"labels": {}}, "spec": {"serviceAccountName": "x", "containers": [
            {"name": "logger", "image": "y"},
            {"name": "agent", "image": "x", "command": ["true"], "env": [{"name": "KEY", "valueFrom": {}}]},
        ]}});
        let expected = [
            "spec.template.spec.serviceAccountName",
            "spec.template.spec.containers[0]",
            "spec.template.spec.containers[1].image",
            "spec.template.spec.containers[1].env KEY",
        ];
        assert_eq!(read(&template, Some("agent")).unwrap().left_out, expected);
    }

    #[test]
    fn a_template_that_cannot_run_is_refused_with_its_field() {
        let with = |container: Value| json!({"spec": {"containers": [container]}});
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let table = [
            (json!({}), None, "there is no container"),
            (two.clone(), None, "there are 2 containers"),
            (two, Some("c"), "named `c`"),
            (with(json!({"name": "a"})), None, "containers[0].command is missing"),
            (with(json!({"command": ["true", 5]})), None, "containers[0].command must be a list of strings"),
            (with(json!({"command": ["true"], "args": "x"})), None, "containers[0].args must be a list of strings"),
            (with(json!({"command": ["true"], "workingDir": "/nowhere"})), None, "/nowhere is not a folder"),
            (with(json!({"command": ["no-such-program"]})), None, "`no-such-program` is not a program"),
            (with(json!({"command": ["./etc/passwd"]})), None, "`./etc/passwd` is not a program"),
        ];
        for (template, container, part) in table {
            let refused = read(&template, container).unwrap_err().to_string();
            assert!(refused.contains(part), "{refused} lacks {part}");
        }
    }
}
