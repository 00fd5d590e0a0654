//! Combos: one model for each role, and the grid of them.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most combos one run may have. A larger grid is refused: brute force over it is never what its author wants.
pub const MAX_COMBOS: usize = 100_000;

/// A named place in the agent that takes a model, with the models to try there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The role's name, unique in a run.
    pub name: String,
    /// The models to try, unique, in the order of the manifest.
    pub models: Vec<String>,
}

/// One model for each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combo {
    /// The label records carry as `combo_id`.
    pub id: String,
    /// Role name to model, in the order of the roles.
    pub models: IndexMap<String, String>,
}

impl Combo {
    /// A combo under its default id (see [`label`]).
    pub fn labelled(models: IndexMap<String, String>) -> Self {
        Self { id: label(&models), models }
    }
}

/// AgentOpt's label of a combo: `planner=gpt-4.1 + solver=gpt-4.1-mini`.
pub fn label(models: &IndexMap<String, String>) -> String {
    let parts: Vec<String> = models.iter().map(|(role, model)| format!("{role}={model}")).collect();
    parts.join(" + ")
}

/// Why a set of combos was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ComboError {
    /// There is nothing to evaluate.
    #[error("there are no combos: name at least one role with one model")]
    Empty,
    /// A role has no models.
    #[error("role `{0}` has no models: give it at least one")]
    NoModels(String),
    /// Two roles share a name.
    #[error("role `{0}` is named twice: role names must be unique")]
    DuplicateRole(String),
    /// A role lists a model twice.
    #[error("role `{role}` lists model `{model}` twice: models of a role must be unique")]
    DuplicateModel {
        /// The role.
        role: String,
        /// The repeated model.
        model: String,
    },
    /// Two listed combos share an id.
    #[error("combo `{0}` is listed twice: combo ids must be unique")]
    DuplicateId(String),
    /// Two listed combos have the same models.
    #[error("combos `{0}` and `{1}` have the same models: leave one out")]
    DuplicateModels(String, String),
    /// The grid is larger than [`MAX_COMBOS`].
    #[error("the roles make {0} combos, and at most {MAX_COMBOS} are allowed: name fewer models, or list the combos to try")]
    TooMany(String),
}

/// The combos of a run, in order. A product is computed on demand, so that a large grid costs nothing until it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combos(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Product { roles: Vec<Role>, len: usize },
    Listed { combos: Vec<Combo>, index: HashMap<String, usize> },
}

impl Combos {
    /// Every combination of the roles' models: first role slowest, last role fastest.
    ///
    /// # Errors
    /// No roles, a role without models, duplicates, or more than [`MAX_COMBOS`] combos.
    pub fn product(roles: Vec<Role>) -> Result<Self, ComboError> {
        if roles.is_empty() {
            return Err(ComboError::Empty);
        }
        for (position, role) in roles.iter().enumerate() {
            if roles[..position].iter().any(|other| other.name == role.name) {
                return Err(ComboError::DuplicateRole(role.name.clone()));
            }
            if role.models.is_empty() {
                return Err(ComboError::NoModels(role.name.clone()));
            }
            if let Some(model) = first_repeated(&role.models) {
                return Err(ComboError::DuplicateModel { role: role.name.clone(), model: model.clone() });
            }
        }
        let size = roles.iter().try_fold(1_u128, |size, role| size.checked_mul(role.models.len() as u128));
        match size {
            Some(size) if size <= MAX_COMBOS as u128 => Ok(Self(Kind::Product { roles, len: size as usize })),
            Some(size) => Err(ComboError::TooMany(size.to_string())),
            None => Err(ComboError::TooMany("far more than 10^38".to_owned())),
        }
    }

    /// Exactly these combos, in this order.
    ///
    /// # Errors
    /// An empty list, two equal ids, two equal sets of models, or more than [`MAX_COMBOS`].
    pub fn listed(combos: Vec<Combo>) -> Result<Self, ComboError> {
        if combos.is_empty() {
            return Err(ComboError::Empty);
        }
        if combos.len() > MAX_COMBOS {
            return Err(ComboError::TooMany(combos.len().to_string()));
        }
        let mut index = HashMap::new();
        let mut seen: HashMap<Vec<(&str, &str)>, &str> = HashMap::new();
        for (position, combo) in combos.iter().enumerate() {
            if index.insert(combo.id.clone(), position).is_some() {
                return Err(ComboError::DuplicateId(combo.id.clone()));
            }
            let mut models: Vec<(&str, &str)> = combo.models.iter().map(|(role, model)| (role.as_str(), model.as_str())).collect();
            models.sort_unstable();
            if let Some(first) = seen.insert(models, &combo.id) {
                return Err(ComboError::DuplicateModels(first.to_owned(), combo.id.clone()));
            }
        }
        Ok(Self(Kind::Listed { combos, index }))
    }

    /// How many combos there are; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a set of combos is never empty")]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Product { len, .. } => *len,
            Kind::Listed { combos, .. } => combos.len(),
        }
    }

    /// The combo at `index`, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<Combo> {
        match &self.0 {
            Kind::Listed { combos, .. } => combos.get(index).cloned(),
            Kind::Product { roles, len } => {
                if index >= *len {
                    return None;
                }
                let mut rest = index;
                let mut models = Vec::with_capacity(roles.len());
                for role in roles.iter().rev() {
                    models.push((role.name.clone(), role.models[rest % role.models.len()].clone()));
                    rest /= role.models.len();
                }
                models.reverse();
                Some(Combo::labelled(models.into_iter().collect()))
            }
        }
    }

    /// The index of the combo with this id. A product finds it by comparing labels, so ask once and keep the answer.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        match &self.0 {
            Kind::Listed { index, .. } => index.get(id).copied(),
            Kind::Product { .. } => self.iter().position(|combo| combo.id == id),
        }
    }

    /// All combos in order.
    pub fn iter(&self) -> impl Iterator<Item = Combo> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

fn first_repeated(models: &[String]) -> Option<&String> {
    models.iter().enumerate().find(|(position, model)| models[..*position].contains(model)).map(|(_, model)| model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role(name: &str, models: &[&str]) -> Role {
        Role { name: name.into(), models: models.iter().map(|model| (*model).into()).collect() }
    }

    fn combo(id: &str, models: &[(&str, &str)]) -> Combo {
        Combo { id: id.into(), models: models.iter().map(|(role, model)| ((*role).into(), (*model).into())).collect() }
    }

    #[test]
    fn a_product_varies_the_last_role_fastest_under_agentopts_labels() {
        let combos = Combos::product(vec![role("planner", &["a", "b"]), role("solver", &["x", "y", "z"])]).unwrap();
        let ids: Vec<String> = combos.iter().map(|combo| combo.id).collect();
        let expected = [
            "planner=a + solver=x",
            "planner=a + solver=y",
            "planner=a + solver=z",
            "planner=b + solver=x",
            "planner=b + solver=y",
            "planner=b + solver=z",
        ];
        assert_eq!(ids, expected);
        assert_eq!(combos.index_of("planner=b + solver=x"), Some(3));
        assert_eq!(combos.get(6), None);
    }

    #[test]
    fn a_huge_grid_is_refused_at_once_with_its_size() {
        let names: Vec<String> = (0..64).map(|model| format!("m{model}")).collect();
        let models: Vec<&str> = names.iter().map(String::as_str).collect();
        let roles = |count: usize| (0..count).map(|index| role(&format!("r{index}"), &models)).collect::<Vec<_>>();
        assert_eq!(Combos::product(roles(2)).unwrap().len(), 4096);
        assert_eq!(Combos::product(roles(3)), Err(ComboError::TooMany("262144".into())));
        assert_eq!(Combos::product(roles(16)), Err(ComboError::TooMany((1_u128 << 96).to_string())));
        assert_eq!(Combos::product(roles(30)), Err(ComboError::TooMany("far more than 10^38".into())));
    }

    #[test]
    fn mistakes_in_roles_and_lists_are_refused() {
        let table = [
            (Combos::product(vec![]), ComboError::Empty),
            (Combos::product(vec![role("a", &[])]), ComboError::NoModels("a".into())),
            (Combos::product(vec![role("a", &["x"]), role("a", &["y"])]), ComboError::DuplicateRole("a".into())),
            (Combos::product(vec![role("a", &["x", "y", "x"])]), ComboError::DuplicateModel { role: "a".into(), model: "x".into() }),
            (Combos::listed(vec![]), ComboError::Empty),
            (Combos::listed(vec![combo("one", &[("a", "x")]), combo("one", &[("a", "y")])]), ComboError::DuplicateId("one".into())),
            (
                Combos::listed(vec![combo("one", &[("a", "x"), ("b", "y")]), combo("two", &[("b", "y"), ("a", "x")])]),
                ComboError::DuplicateModels("one".into(), "two".into()),
            ),
        ];
        for (got, expected) in table {
            assert_eq!(got, Err(expected));
        }
    }

    proptest! {
        #[test]
        fn every_index_of_a_product_is_a_different_combo_that_index_of_finds(sizes in prop::collection::vec(1_usize..5, 1..5)) {
            let roles: Vec<Role> = sizes
                .iter()
                .enumerate()
                .map(|(position, size)| Role { name: format!("r{position}"), models: (0..*size).map(|model| format!("m{model}")).collect() })
                .collect();
            let combos = Combos::product(roles).unwrap();
            prop_assert_eq!(combos.len(), sizes.iter().product::<usize>());
            for (index, combo) in combos.iter().enumerate() {
                prop_assert_eq!(combos.index_of(&combo.id), Some(index));
            }
        }
    }
}
