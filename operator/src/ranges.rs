//! Sets of completion indexes, written as Kubernetes writes them: `0-4,7`.

use std::fmt;

/// A set of indexes, kept as ranges. Its cost is the number of ranges, not of indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Reads `0-4,7`. What is no range is left out: the text is the API server's or the hub's, and an index that is not understood is one that
    /// was not seen.
    pub fn parse(text: &str) -> Self {
        let parts = text.split(',').filter_map(|part| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        });
        Self::merged(parts.collect())
    }

    fn merged(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// `0` to `count - 1`.
    pub fn below(count: u64) -> Self {
        Self(count.checked_sub(1).map(|last| (0, last)).into_iter().collect())
    }

    /// How many indexes there are.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// Whether the index is in the set.
    pub fn contains(&self, index: u64) -> bool {
        let position = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(position).is_some_and(|(first, _)| *first <= index)
    }

    /// Whether every index of this set is in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|(first, last)| {
            let position = other.0.partition_point(|(_, end)| end < first);
            other.0.get(position).is_some_and(|(start, end)| start <= first && last <= end)
        })
    }

    /// The indexes, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// The indexes that the other has not.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        for (first, last) in &self.0 {
            let mut from = Some(*first);
            let begin = other.0.partition_point(|(_, end)| end < first);
            for (start, end) in other.0[begin..].iter().take_while(|(start, _)| start <= last) {
                left.extend(from.filter(|from| from < start).map(|from| (from, start - 1)));
                from = end.checked_add(1);
            }
            left.extend(from.filter(|from| from <= last).map(|from| (from, *last)));
        }
        Self(left)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The indexes of both.
    pub fn union(&self, other: &Self) -> Self {
        Self::merged([&self.0[..], &other.0[..]].concat())
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<T: IntoIterator<Item = u64>>(indexes: T) -> Self {
        Self::merged(indexes.into_iter().map(|index| (index, index)).collect())
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            if first == last {
                write!(formatter, "{comma}{first}")?;
            } else {
                write!(formatter, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_kubernetes_writes_is_read_and_nonsense_is_left_out() {
        let table = [
            ("", "", 0),
            ("3", "3", 1),
            ("0-4,7", "0-4,7", 6),
            ("7,0-4", "0-4,7", 6),
            ("0-2,3", "0-3", 4),
            ("5-1,x,-,2-,9", "9", 1),
            ("0-18446744073709551615", "0-18446744073709551615", u64::MAX),
        ];
        for (text, written, count) in table {
            let ranges = Ranges::parse(text);
            assert_eq!((ranges.to_string().as_str(), ranges.count()), (written, count), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set(left in proptest::collection::btree_set(0_u64..40, 0..20), right in proptest::collection::btree_set(0_u64..40, 0..20)) {
            let text = |set: &BTreeSet<u64>| set.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            let (a, b) = (Ranges::parse(&text(&left)), Ranges::parse(&text(&right)));
            prop_assert_eq!(a.count(), left.len() as u64);
            prop_assert_eq!(a.is_within(&b), left.is_subset(&right));
            prop_assert_eq!(a.union(&b).count(), left.union(&right).count() as u64);
            prop_assert!((0..40).all(|index| a.contains(index) == left.contains(&index)));
            prop_assert_eq!(a.without(&b).iter().collect::<Vec<_>>(), left.difference(&right).copied().collect::<Vec<_>>());
            prop_assert_eq!(a.is_empty(), left.is_empty());
            prop_assert_eq!(&Ranges::parse(&a.to_string()), &a);
            prop_assert_eq!(&left.iter().copied().collect::<Ranges>(), &a);
        }
    }
}
