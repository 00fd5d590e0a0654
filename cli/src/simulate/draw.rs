//! Chance that is the same every time.

use sha2::{Digest, Sha256};

/// A row of numbers that follows from what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    state: [u8; 32],
    count: u64,
}

impl Draw {
    /// Begins a row; other parts give another row.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // The length goes first, so that no two lists of parts run into the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { state: hash.finalize().into(), count: 0 }
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> u64 {
        self.count += 1;
        let mut hash = Sha256::new();
        hash.update(self.state);
        hash.update(self.count.to_le_bytes());
        let bytes: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight of 32 bytes"))
    }

    /// The next number from 0 to below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits are what a float holds exactly.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next number from 0 to below `count`; 0 where `count` is 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((self.fraction() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// The next factor from 0.7 to 1.3.
    pub(crate) fn jitter(&mut self) -> f64 {
        0.7 + 0.6 * self.fraction()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_follows_from_its_parts() {
        let row = |parts: &[&[u8]]| {
            let mut draw = Draw::of(parts);
            [draw.number(), draw.number()]
        };
        assert_eq!(row(&[b"a", b"b"]), row(&[b"a", b"b"]));
        assert_ne!(row(&[b"a", b"b"]), row(&[b"ab", b""]));
        assert_ne!(row(&[b"a"])[0], row(&[b"a"])[1]);
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let mut draw = Draw::of(&[b"seed"]);
        let mean = (0..10_000).map(|_| draw.fraction()).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
