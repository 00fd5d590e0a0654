//! Recognising a request by its very bytes, so that an equal one need not be read again.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// Equal for equal requests. 128 bits of two hashes, keyed anew in each process: cheaper than SHA-256 by far, and nobody outside
/// can aim at a collision. What is stored and shared has a SHA-256 key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64, u64);

/// Makes fingerprints.
#[derive(Default)]
pub(crate) struct Fingerprints(RandomState, RandomState);

impl Fingerprints {
    /// The fingerprint of `parts`, whose bounds count.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> Fingerprint {
        let hash = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        };
        Fingerprint(hash(&self.0), hash(&self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_every_byte_count() {
        let fingerprints = Fingerprints::default();
        let body = vec![7_u8; 5000];
        let whole = fingerprints.of(&[b"scope", &body]);
        assert_eq!(whole, fingerprints.of(&[b"scope", &body.clone()]));
        assert_ne!(fingerprints.of(&[b"ab", b"c"]), fingerprints.of(&[b"a", b"bc"]));
        for place in [0, 1, 63, 64, 2500, 4999] {
            let mut other = body.clone();
            other[place] ^= 1;
            assert_ne!(whole, fingerprints.of(&[b"scope", &other]), "{place}");
        }
    }
}
