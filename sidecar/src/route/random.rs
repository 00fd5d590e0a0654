//! Models drawn at random, the same ones as AgentOpt's `RandomRouter` draws with the same seed.

use std::sync::{Mutex, PoisonError};

use agentrun_protocol::routing::RandomPolicy;
use rand_mt::Mt;
use sha2::{Digest, Sha256};

use crate::session::Session;

/// Which sessions draw from one generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draws {
    /// All that have the router.
    Shared,
    /// Those of one datapoint draw alike.
    Datapoint,
    /// Each trial has its own.
    Trial,
}

#[derive(Debug)]
pub(super) struct Random {
    candidates: Vec<String>,
    seed: Option<i64>,
    draws: Draws,
    generator: Box<Mutex<Mt>>,
}

impl Random {
    /// Of a policy with a candidate.
    pub(super) fn new(policy: &RandomPolicy, draws: Draws) -> Self {
        let draws = if policy.per_datapoint { Draws::Datapoint } else { draws };
        let key = policy.seed.map_or_else(fresh, |seed| words(seed.unsigned_abs()));
        Self { candidates: policy.candidates.clone(), seed: policy.seed, draws, generator: generator(key) }
    }

    /// The session's own draws, where it has any. docs/decisions/0005-draws.md has the rule in Python.
    pub(super) fn of_session(&self, session: &Session) -> Option<Self> {
        let (seed, data_id) = (self.seed?, session.data_id.as_deref()?);
        let text = match self.draws {
            Draws::Shared => return None,
            Draws::Datapoint => format!("{seed}\0{data_id}"),
            Draws::Trial => format!("{seed}\0{}\0{data_id}\0{}", session.combo_id.as_deref().unwrap_or_default(), session.sample),
        };
        let generator = generator(digested(&text));
        Some(Self { candidates: self.candidates.clone(), seed: self.seed, draws: self.draws, generator })
    }

    pub(super) fn draw(&self) -> String {
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let index = below(&mut generator, self.candidates.len());
        self.candidates[index].clone()
    }
}

fn generator(key: Vec<u32>) -> Box<Mutex<Mt>> {
    Box::new(Mutex::new(Mt::new_with_key(key)))
}

/// As CPython seeds with the SHA-256 of a text, read as an integer, the lowest byte first: in words of 32 bits, those at the end left out that are zero.
fn digested(text: &str) -> Vec<u32> {
    let mut words: Vec<u32> = Sha256::digest(text).as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    while words.len() > 1 && words.last() == Some(&0) {
        words.pop();
    }
    words
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
    use serde::Deserialize;

    use super::*;

    fn random(candidates: Vec<String>, seed: Option<i64>, draws: Draws) -> Random {
        Random::new(&RandomPolicy { candidates, seed, per_datapoint: false }, draws)
    }

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
            let random = random(candidates, Some(seed), Draws::Shared);
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
            let random = random(candidates, Some(seed), Draws::Shared);
            let drawn: Vec<String> = (0..10_000).map(|_| random.draw()).collect();
            let hashed: [u8; 32] = Sha256::digest(drawn.join(",")).into();
            assert_eq!(hex(&hashed), digest, "seed {seed}, {count} candidates");
        }
    }

    #[test]
    fn without_a_seed_each_draws_otherwise() {
        let candidates: Vec<String> = (0..100).map(|index| index.to_string()).collect();
        let drawn = || {
            let random = random(candidates.clone(), None, Draws::Shared);
            (0..20).map(|_| random.draw()).collect::<Vec<_>>()
        };
        assert_ne!(drawn(), drawn());
    }

    /// Eight draws of a session's own among `count`.
    fn own(seed: i64, draws: Draws, combo_id: &str, data_id: &str, sample: u32, count: usize) -> Vec<usize> {
        let random = random((0..count).map(|index| index.to_string()).collect(), Some(seed), draws);
        let session = Session { combo_id: Some(combo_id.to_owned()), data_id: Some(data_id.to_owned()), sample, ..Session::default() };
        let own = random.of_session(&session).unwrap();
        (0..8).map(|_| own.draw().parse().unwrap()).collect()
    }

    /// Drawn by CPython as docs/decisions/0005-draws.md has it.
    #[test]
    fn a_datapoint_and_a_trial_draw_from_the_seed_and_their_names() {
        let datapoint = |seed, data_id, count| own(seed, Draws::Datapoint, "", data_id, 0, count);
        assert_eq!(datapoint(42, "q1", 3), [2, 0, 2, 1, 2, 2, 1, 0]);
        assert_eq!(datapoint(42, "q2", 3), [0, 2, 1, 1, 0, 0, 0, 2]);
        assert_eq!(datapoint(-7, "q1", 5), [0, 4, 4, 4, 4, 0, 0, 0]);
        assert_eq!(datapoint(0, "größe", 2), [1, 1, 0, 0, 0, 0, 1, 0]);
        assert_eq!(own(42, Draws::Datapoint, "a=x", "q1", 3, 3), datapoint(42, "q1", 3));
        let trial = |combo_id, data_id, sample| own(42, Draws::Trial, combo_id, data_id, sample, 3);
        assert_eq!(trial("a=x + b=y", "q1", 0), [1, 0, 1, 0, 2, 0, 2, 1]);
        assert_eq!(trial("a=x + b=y", "q1", 1), [1, 0, 2, 1, 1, 2, 1, 1]);
        assert_eq!(trial("a=y + b=x", "q1", 0), [0, 1, 0, 2, 0, 0, 1, 0]);
        assert_eq!(trial("a=x + b=y", "q2", 0), [2, 2, 0, 1, 1, 2, 0, 1]);
    }

    /// With one call a datapoint, draws that began anew with the seed alone would choose one model for all.
    #[test]
    fn w21_datapoints_do_not_all_draw_the_same_model() {
        for draws in [Draws::Datapoint, Draws::Trial] {
            let first = |number: usize| own(0, draws, "c", &format!("q{number}"), 0, 3)[0];
            let mut counts = [0; 3];
            (0..300).for_each(|number| counts[first(number)] += 1);
            assert!(counts.iter().all(|count| (60..140).contains(count)), "{draws:?}: {counts:?}");
        }
    }
}
