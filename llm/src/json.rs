//! Request and answer bodies as Python's `json` module reads and writes them.
//!
//! AgentOpt's cache keys hash what Python's `json.dumps` prints, and SDKs send what Python or JavaScript printed; so the tree keeps what `serde_json` loses:
//! the difference of `1` and `1.0`, integers of any size, `NaN`, lone surrogates, the order of keys.

mod encoding;
mod parse;
mod text;
mod write;

pub use parse::{JsonError, MAX_DEPTH, MAX_VALUES};
pub use text::Text;
pub use write::MAX_STRICT_DEPTH;

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer token that fits.
    Int(i64),
    /// An integer token that does not fit, as its digits with the sign.
    BigInt(Box<str>),
    /// A number token with a fraction or an exponent, and `NaN`, `Infinity`, `-Infinity`.
    Float(f64),
    /// A string.
    String(Text),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

/// A JSON object: members in the order of their first appearance, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    members: Vec<(Text, Json)>,
}

impl Json {
    /// The member `name`, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.as_object()?.get(name)
    }

    /// The member `name` to change, if this is an object that has it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.as_object_mut()?.get_mut(name)
    }

    /// The value at the end of a path of member names.
    pub fn at(&self, path: &[&str]) -> Option<&Json> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// The text, if this is a string without lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => text.as_str(),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if this is an integer in range.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, if this is a non-negative integer in range.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::BigInt(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The number as a float (rounded where it must be), if this is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::BigInt(digits) => digits.parse().ok(),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The items to change, if this is an array.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Json>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The object, if this is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object to change, if this is one.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl Object {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// The member `name`.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.members.iter().find(|(key, _)| key.as_bytes() == name.as_bytes()).map(|(_, value)| value)
    }

    /// The member `name` to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.members.iter_mut().find(|(key, _)| key.as_bytes() == name.as_bytes()).map(|(_, value)| value)
    }

    /// Sets the member `name`, in its place if it is there and last if not, and returns what it was.
    pub fn insert(&mut self, name: &str, value: impl Into<Json>) -> Option<Json> {
        if let Some(place) = self.get_mut(name) {
            return Some(std::mem::replace(place, value.into()));
        }
        self.members.push((name.into(), value.into()));
        None
    }

    /// Takes the member `name` out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let place = self.members.iter().position(|(key, _)| key.as_bytes() == name.as_bytes())?;
        Some(self.members.remove(place).1)
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Json)> {
        self.members.iter().map(|(name, value)| (name, value))
    }

    /// The members in order, values to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Text, &mut Json)> {
        self.members.iter_mut().map(|(name, value)| (&*name, value))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// Collects members; of equal names the last value wins at the first one's place, as in a Python `dict`.
impl<Name: Into<Text>, Value: Into<Json>> FromIterator<(Name, Value)> for Object {
    fn from_iter<Members: IntoIterator<Item = (Name, Value)>>(members: Members) -> Self {
        parse::object_of(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<Name: Into<Text>, Value: Into<Json>, const COUNT: usize> From<[(Name, Value); COUNT]> for Json {
    fn from(members: [(Name, Value); COUNT]) -> Self {
        Self::Object(members.into_iter().collect())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::BigInt(number.to_string().into()), Self::Int)
    }
}

impl From<f64> for Json {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::Array(items)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<Value: Into<Json>> From<Option<Value>> for Json {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
