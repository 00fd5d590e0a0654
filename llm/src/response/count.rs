//! Usage as providers word it, read into the normal form.

use serde_json::Value;

use crate::usage::{MAX_COUNT, Usage};

/// A whole number of tokens: 0 to [`MAX_COUNT`], whole floats included (Cohere's schema has floats); nothing else.
pub(crate) fn count(value: &Value) -> Option<u64> {
    if let Some(count) = value.as_u64() {
        return (count <= MAX_COUNT).then_some(count);
    }
    let float = value.as_f64()?;
    (float.fract() == 0.0 && float >= 0.0 && float <= MAX_COUNT as f64).then_some(float as u64)
}

/// A report of counts being read. A count that is there and is not a number of tokens makes the report unreadable:
/// a guess in its place would be a wrong cost.
pub(crate) struct Counts<'a> {
    report: &'a Value,
    odd: Option<String>,
}

impl<'a> Counts<'a> {
    /// Begins to read `report`.
    ///
    /// # Errors
    /// When it is not an object.
    pub(crate) fn of(report: &'a Value) -> Result<Self, String> {
        if report.is_object() { Ok(Self { report, odd: None }) } else { Err(format!("usage is {} and not an object", kind(report))) }
    }

    /// The count at `path`; absent and null are unknown.
    pub(crate) fn at(&mut self, path: &[&str]) -> Option<u64> {
        let value = path.iter().try_fold(self.report, |value, name| value.get(*name))?;
        if value.is_null() {
            return None;
        }
        let read = count(value);
        if read.is_none() {
            self.odd.get_or_insert_with(|| format!("{} is {} and not a count of tokens", path.join("."), kind(value)));
        }
        read
    }

    /// The first count that is there.
    pub(crate) fn first(&mut self, paths: &[&[&str]]) -> Option<u64> {
        paths.iter().find_map(|path| self.at(path))
    }

    /// The usage, unless a count was odd or it says neither input nor output.
    pub(crate) fn finish(self, usage: Usage) -> Result<Usage, String> {
        if let Some(odd) = self.odd {
            return Err(odd);
        }
        if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
            return Err("usage has neither input nor output tokens".to_owned());
        }
        Ok(usage)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number out of range",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// `usage` of a message, if it has one.
pub(crate) fn report<'a>(message: &'a Value, name: &str) -> Result<&'a Value, String> {
    match message.get(name) {
        None => Err(format!("the answer has no {name}")),
        Some(Value::Null) => Err(format!("the answer's {name} is null")),
        Some(report) => Ok(report),
    }
}
