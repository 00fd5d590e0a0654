//! The rules of combos: each names every role, with a model of that role, under an id of its own.

use std::collections::{BTreeMap, HashMap};

use agentrun_eval::combo::{self, MAX_COMBOS};

use super::{Mistakes, joined, nearest};
use crate::yaml::Node;

pub(super) fn check(spec: &Node, mistakes: &mut Mistakes) {
    let Some(roles) = spec.get("roles") else { return };
    let listed = spec.get("combos").map(Node::items).unwrap_or_default();
    if listed.is_empty() {
        return grid(roles, mistakes);
    }
    let roles: Vec<(&str, Vec<&str>)> = roles
        .items()
        .iter()
        .filter_map(|role| {
            let models = role.get("models").map(Node::items).unwrap_or_default();
            Some((role.get("name")?.text()?, models.iter().filter_map(Node::text).collect()))
        })
        .collect();
    // Past the schema's bounds, which it tells, comparing every combo with every model would take too long.
    if roles.len() > 16 || roles.iter().any(|(_, models)| models.len() > 64) {
        return;
    }
    let mut seen = Seen::default();
    for (position, combo) in listed.iter().enumerate() {
        let path = format!("spec.combos[{position}]");
        if let Some(models) = combo.get("models") {
            names_every_role(&roles, models, &joined(&path, "models"), mistakes);
        }
        seen.check(&roles, combo, position, &path, mistakes);
    }
}

fn grid(roles: &Node, mistakes: &mut Mistakes) {
    let sizes = roles.items().iter().map(|role| role.get("models").map(Node::items).unwrap_or_default().len().max(1) as u128);
    let size = sizes.fold(1_u128, u128::saturating_mul);
    if size > MAX_COMBOS as u128 {
        let message =
            format!("the roles make {size} combos, and at most {MAX_COMBOS} are allowed: name fewer models, or list the combos to try");
        mistakes.add(roles.place, "spec.roles", message);
    }
}

fn names_every_role(roles: &[(&str, Vec<&str>)], models: &Node, path: &str, mistakes: &mut Mistakes) {
    for field in models.fields() {
        let path = joined(path, &field.key);
        match roles.iter().find(|(name, _)| *name == field.key) {
            None => {
                let names = roles.iter().map(|(name, _)| *name);
                let hint = nearest(&field.key, names.clone()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                let message = format!("there is no such role: the roles are {}{hint}", names.collect::<Vec<_>>().join(", "));
                mistakes.add(field.place, &path, message);
            }
            Some((name, known)) => {
                if let Some(model) = field.value.text().filter(|model| !known.contains(model)) {
                    let hint = nearest(model, known.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    let message = format!("`{model}` is not among the models of role `{name}`: add it there{hint}");
                    mistakes.add(field.value.place, &path, message);
                }
            }
        }
    }
    for (name, _) in roles {
        if models.get(name).is_none() {
            mistakes.add(
                models.place,
                &joined(path, name),
                format!("the combo names no model for role `{name}`: every combo names every role"),
            );
        }
    }
}

/// What the combos before had.
#[derive(Default)]
struct Seen {
    ids: HashMap<String, usize>,
    models: HashMap<BTreeMap<String, String>, usize>,
}

impl Seen {
    fn check(&mut self, roles: &[(&str, Vec<&str>)], combo: &Node, position: usize, path: &str, mistakes: &mut Mistakes) {
        let models = combo.get("models");
        let model_of = |role: &str| models.and_then(|models| models.get(role)).and_then(Node::text);
        let named = roles.iter().filter_map(|(role, _)| model_of(role).map(|model| ((*role).to_owned(), model.to_owned())));
        let label = combo::label(&named.clone().collect());
        let id = combo.get("id");
        let place = id.map_or(combo.place, |id| id.place);
        let id = id.and_then(Node::text).map_or(label, str::to_owned);
        if !id.is_empty()
            && let Some(first) = self.ids.insert(id.clone(), position)
        {
            let message = format!("`{id}` is the id of combo {first} already: ids must be unique");
            return mistakes.add(place, &joined(path, "id"), message);
        }
        let chosen: BTreeMap<String, String> = named.collect();
        if chosen.len() == roles.len()
            && let Some(first) = self.models.insert(chosen, position)
        {
            mistakes.add(combo.place, path, format!("combo {first} has the same models: leave one out"));
        }
    }
}
