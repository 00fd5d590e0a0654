//! Sets of completion indexes as Kubernetes writes them: `0-4,7`.

use agentrun_protocol::run::CHUNK;

/// A set of indexes of one Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes(Vec<u64>);

impl Indexes {
    /// Reads ranges. What is no number, and indexes that no Job of ours has, are left out: they name nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut set = Self::default();
        // No set has more parts than indexes.
        for part in text.split(',').take(CHUNK as usize) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
                (first..=last.min(CHUNK - 1)).for_each(|index| set.insert(index));
            }
        }
        set
    }

    /// Adds an index below [`CHUNK`]; others are left out.
    pub(crate) fn insert(&mut self, index: u64) {
        if index < CHUNK {
            let word = (index / 64) as usize;
            if self.0.len() <= word {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= 1 << (index % 64);
        }
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.0.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// In rising order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.0.len() as u64 * 64).filter(|index| self.contains(*index))
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut indexes = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = indexes.next() {
            let mut last = first;
            while let Some(next) = indexes.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(formatter, "{separator}{first}")?,
                _ => write!(formatter, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_and_written_as_kubernetes_does() {
        let table = [
            ("", ""),
            ("0", "0"),
            ("0-4,7", "0-4,7"),
            ("7,0-4,5", "0-5,7"),
            ("63-65", "63-65"),
            ("4999,5000", "4999"),
            ("4998-18446744073709551615", "4998-4999"),
            ("5-3", ""),
            ("x,1-,-2,3", "3"),
        ];
        for (text, expected) in table {
            assert_eq!(Indexes::parse(text).to_string(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(indexes in prop::collection::btree_set(0..CHUNK, 0..200)) {
            let mut set = Indexes::default();
            indexes.iter().for_each(|index| set.insert(*index));
            prop_assert_eq!(Indexes::parse(&set.to_string()).iter().collect::<Vec<_>>(), indexes.into_iter().collect::<Vec<_>>());
        }
    }
}
