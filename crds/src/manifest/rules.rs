//! The rules that no schema can say: between fields, and inside strings. They look at the tree, not at the typed resource, so
//! that they are told together with the schema's mistakes.

use std::collections::HashMap;

use agentrun_eval::score::{JsonPointer, Pattern, ScoreError};
use agentrun_protocol::routing::Condition;

use super::{Mistakes, combos, nearest};
use crate::yaml::Node;

/// As many rules as the schema takes: of a longer list no more is compiled.
const MOST_RULES: usize = 64;

pub(super) fn check(tree: &Node, mistakes: &mut Mistakes) {
    let Some(spec) = tree.get("spec") else { return };
    combos::check(spec, mistakes);
    replaced_models(spec, mistakes);
    items(spec, mistakes);
    agent(spec, mistakes);
    scoring(spec, mistakes);
    routing(spec, mistakes);
}

/// A model that two roles replace would be two models at once.
fn replaced_models(spec: &Node, mistakes: &mut Mistakes) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (position, role) in spec.get("roles").map(Node::items).unwrap_or_default().iter().enumerate() {
        for (index, model) in role.get("replaces").map(Node::items).unwrap_or_default().iter().enumerate() {
            let Some(text) = model.text() else { continue };
            match seen.get(text) {
                Some(first) if *first != position => {
                    let message = format!("`{text}` is replaced by role {first} already: a call can be sent with one model only");
                    mistakes.add(model.place, &format!("spec.roles[{position}].replaces[{index}]"), message);
                }
                _ => {
                    seen.insert(text, position);
                }
            }
        }
    }
}

/// Inline datapoints have unique ids, the default ones included.
fn items(spec: &Node, mistakes: &mut Mistakes) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (position, item) in spec.at(&["dataset", "items"]).map(Node::items).unwrap_or_default().iter().enumerate() {
        let named = item.get("id");
        let id = named.and_then(Node::text).map_or_else(|| position.to_string(), str::to_owned);
        let place = named.map_or(item.place, |id| id.place);
        if id.chars().any(char::is_control) {
            let message = "the id holds a control character: use printable text".to_owned();
            mistakes.add(place, &format!("spec.dataset.items[{position}].id"), message);
        }
        if let Some(first) = seen.insert(id.clone(), position) {
            let message = format!("`{id}` is the id of item {first} already (the default is the 0-based index): ids must be unique");
            mistakes.add(place, &format!("spec.dataset.items[{position}].id"), message);
        }
    }
}

fn agent(spec: &Node, mistakes: &mut Mistakes) {
    let containers = spec.at(&["template", "spec", "containers"]).map(Node::items).unwrap_or_default();
    let names: Vec<&str> = containers.iter().filter_map(|container| container.get("name").and_then(Node::text)).collect();
    let named = spec.at(&["agent", "container"]);
    let agent = match named.map(|named| (named, named.text())) {
        Some((named, Some(name))) => {
            let found = containers.iter().position(|container| container.get("name").and_then(Node::text) == Some(name));
            if found.is_none() && !names.is_empty() {
                let hint = nearest(name, names.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                let message = format!("the template has no container `{name}`: its containers are {}{hint}", names.join(", "));
                mistakes.add(named.place, "spec.agent.container", message);
            }
            found
        }
        Some(_) => None,
        None if containers.len() > 1 => {
            let message = format!("the template has {} containers: name the agent's in `agent.container`", containers.len());
            mistakes.add(spec.get("agent").map_or(spec.place, |agent| agent.place), "spec.agent.container", message);
            None
        }
        None => (!containers.is_empty()).then_some(0),
    };
    let input = spec.at(&["agent", "input"]);
    let wraps = input.and_then(|input| ["stdin", "env"].into_iter().find(|way| input.get(way).is_some()));
    if let (Some(position), Some(way), Some(input)) = (agent, wraps, input) {
        let has_command = containers[position].get("command").is_some_and(|command| !command.items().is_empty());
        if !has_command {
            let message = format!("`{way}` needs `command` on the agent's container: an image's own entry point cannot be wrapped");
            mistakes.add(input.place, &format!("spec.agent.input.{way}"), message);
        }
    }
}

fn scoring(spec: &Node, mistakes: &mut Mistakes) {
    if let Some(pattern) = spec.at(&["scoring", "regex", "pattern"])
        && let Some(Err(ScoreError::Pattern { source, .. })) = pattern.text().map(Pattern::new)
    {
        let reason = source.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        mistakes.add(pattern.place, "spec.scoring.regex.pattern", format!("the pattern does not compile: {reason}"));
    }
    if let Some(pointer) = spec.at(&["scoring", "json", "pointer"])
        && let Some(Err(error)) = pointer.text().map(JsonPointer::new)
    {
        mistakes.add(pointer.place, "spec.scoring.json.pointer", error.to_string());
    }
    if let Some(command) = spec.at(&["scoring", "command"])
        && command.items().first().is_some_and(|program| program.text() == Some(""))
    {
        let message = "the program is empty: write one, as in [python3, score.py]".to_owned();
        mistakes.add(command.items()[0].place, "spec.scoring.command[0]", message);
    }
}

/// Conditions compile; a seed is there where something is mixed into it.
fn routing(spec: &Node, mistakes: &mut Mistakes) {
    for (index, rule) in spec.at(&["routing", "rules", "rules"]).map(Node::items).unwrap_or_default().iter().take(MOST_RULES).enumerate() {
        if let Some(when) = rule.get("when")
            && let Some(Err(error)) = when.text().filter(|text| !text.is_empty()).map(Condition::compile)
        {
            mistakes.add(when.place, &format!("spec.routing.rules.rules[{index}].when"), error.to_string());
        }
    }
    if let Some(random) = spec.at(&["routing", "random"])
        && let Some(per_datapoint) = random.get("perDatapoint").filter(|flag| flag.to_value() == true)
        && random.get("seed").is_none_or(Node::is_null)
    {
        let message = "this needs a `seed`: without one every draw is new anyway".to_owned();
        mistakes.add(per_datapoint.place, "spec.routing.random.perDatapoint", message);
    }
}
