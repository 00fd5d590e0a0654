//! A call's name.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A call's name: a UUID version 7, so that ids sort by the calls' starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(Uuid);

impl CallId {
    /// The id of a call that started at `at` (times before 1970 count as 1970), unique through `random`.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
    }

    /// The id's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id that these bytes are.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The text is not the id of a call.
#[derive(Debug, thiserror::Error)]
#[error("reading a call id: not a UUID")]
pub struct CallIdError(#[source] uuid::Error);

impl FromStr for CallId {
    type Err = CallIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(CallIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_start_and_read_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (early, late) = (CallId::new(at(1_000), [255; 10]), CallId::new(at(1_001), [0; 10]));
        assert!(early < late);
        assert_eq!(early.to_string().parse::<CallId>().unwrap(), early);
        assert_eq!(early.to_string().as_bytes()[14], b'7');
        assert!("nonsense".parse::<CallId>().is_err());
        assert!(CallId::new(at(-5), [0; 10]) < early);
    }
}
