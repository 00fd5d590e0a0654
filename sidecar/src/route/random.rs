//! Models drawn at random, the same ones as AgentOpt's `RandomRouter` draws with the same seed.

use std::sync::{Mutex, PoisonError};

use rand_mt::Mt;
use serde::{Deserialize, Serialize};

use crate::route::PolicyError;

/// Draws among candidates, each as likely.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RandomPolicy {
    /// The models; one that stands twice is twice as likely.
    pub candidates: Vec<String>,
    /// Equal seeds draw the same; none draws anew each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Random {
    candidates: Vec<String>,
    generator: Box<Mutex<Mt>>,
}

impl Random {
    pub(super) fn new(policy: &RandomPolicy) -> Result<Self, PolicyError> {
        if policy.candidates.is_empty() {
            return Err(PolicyError::NoCandidates);
        }
        let key = policy.seed.map_or_else(fresh, |seed| words(seed.unsigned_abs()));
        Ok(Self { candidates: policy.candidates.clone(), generator: Box::new(Mutex::new(Mt::new_with_key(key))) })
    }

    pub(super) fn draw(&self) -> String {
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let index = below(&mut generator, self.candidates.len());
        self.candidates[index].clone()
    }
}

/// As CPython's `random.seed` hands an integer to the generator: its absolute value in words of 32 bits, the lowest first, one at least.
fn words(seed: u64) -> Vec<u32> {
    let (low, high) = (seed as u32, (seed >> 32) as u32);
    if high == 0 { vec![low] } else { vec![low, high] }
}

/// What nobody can tell before: 62 bits of each id are random.
fn fresh() -> Vec<u32> {
    (0..4).flat_map(|_| words(uuid::Uuid::now_v7().as_u64_pair().1)).collect()
}

/// As CPython's `Random._randbelow`: as many of the highest bits of an output as `count` has, drawn again until they are below it.
fn below(generator: &mut Mt, count: usize) -> usize {
    let bits = usize::BITS - count.leading_zeros();
    loop {
        // More candidates than 2^32 fit into no memory.
        let drawn = (generator.next_u32() >> (32 - bits)) as usize;
        if drawn < count {
            return drawn;
        }
    }
}

#[cfg(test)]
mod tests {
    use agentrun_llm::key::hex;
    use sha2::{Digest, Sha256};

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        seed: i64,
        n: usize,
        idx: Vec<usize>,
    }

    #[test]
    fn draws_are_those_of_cpython() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("random_vectors.json")).unwrap();
        assert_eq!(vectors.len(), 20);
        for Vector { seed, n, idx } in vectors {
            let candidates = (0..n).map(|index| index.to_string()).collect();
            let random = Random::new(&RandomPolicy { candidates, seed: Some(seed) }).unwrap();
            let drawn: Vec<usize> = idx.iter().map(|_| random.draw().parse().unwrap()).collect();
            assert_eq!(drawn, idx, "seed {seed}, {n} candidates");
        }
    }

    /// SHA-256 of ten thousand draws, written as CPython's `",".join(map(str, draws))`.
    const TEN_THOUSAND: [(i64, usize, &str); 5] = [
        (0, 2, "eb0cc0633cb755f4166485dbaff2eb31a36e26f827bd9d169d739cbfc177a098"),
        (42, 7, "ce87c77c1d644615e9e7b94d2f20d52a3aab4a146021294ffe9961be1e90ec10"),
        (-7, 10, "0684f0572b28ac32ff40966fd408a3ecd770898bfe30c8b9798941cca5358b83"),
        (1 << 40, 3, "3aff76e531f102b08628b3fc9b6995d300a2ae62cb846f5ead1d486130dca462"),
        (i64::MAX, 1000, "a03553f87244f908f32cad8436d59c6e36975a4fbd76b1ade3cf8a76e391e386"),
    ];

    #[test]
    fn ten_thousand_draws_are_those_of_cpython() {
        for (seed, count, digest) in TEN_THOUSAND {
            let candidates = (0..count).map(|index| index.to_string()).collect();
            let random = Random::new(&RandomPolicy { candidates, seed: Some(seed) }).unwrap();
            let drawn: Vec<String> = (0..10_000).map(|_| random.draw()).collect();
            let hashed: [u8; 32] = Sha256::digest(drawn.join(",")).into();
            assert_eq!(hex(&hashed), digest, "seed {seed}, {count} candidates");
        }
    }

    #[test]
    fn without_a_seed_each_draws_otherwise() {
        let candidates: Vec<String> = (0..100).map(|index| index.to_string()).collect();
        let drawn = || {
            let random = Random::new(&RandomPolicy { candidates: candidates.clone(), seed: None }).unwrap();
            (0..20).map(|_| random.draw()).collect::<Vec<_>>()
        };
        assert_ne!(drawn(), drawn());
    }
}
