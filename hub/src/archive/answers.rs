//! Stored answers, shared by runs or namespaces, bounded by bytes.

use std::sync::{Mutex, PoisonError};

use agentrun_protocol::lease::ENTRY_BYTES;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Archive, Result,
    change::{AnswerRow, Changes},
    committer::durable,
    error::ArchiveError,
    types::{RunId, Scope},
};

/// How many bytes of answers are removed at once: others write between.
const TRIMMED_BYTES: u64 = 16 << 20;

/// How many stored answers there are, about.
#[derive(Debug, Default)]
pub(super) struct Stock {
    count: Mutex<Count>,
    /// The most bytes.
    limit: u64,
}

#[derive(Debug, Default)]
struct Count {
    last: i64,
    /// Replaced answers are counted until the oldest are removed, which counts anew.
    bytes: u64,
    trimming: bool,
}

impl Stock {
    pub(super) fn new((last, bytes): (i64, u64), limit: u64) -> Self {
        Self { count: Mutex::new(Count { last, bytes, trimming: false }), limit }
    }

    /// Counts one more; gives its number, and whether the oldest are to go.
    fn add(&self, bytes: u64) -> (i64, bool) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.last += 1;
        count.bytes += bytes;
        let trim = count.bytes > self.limit && !count.trimming;
        count.trimming |= trim;
        (count.last, trim)
    }

    fn bytes(&self) -> u64 {
        self.count.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Of those that were there when there were `before` bytes, so many are left.
    fn trimmed(&self, before: u64, left: Option<u64>) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.trimming = false;
        count.bytes = left.map_or(count.bytes, |left| left + count.bytes.saturating_sub(before));
    }
}

impl Archive {
    /// The answer that is stored under a key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn answer(&self, scope: &Scope, key: &[u8; 32]) -> Result<Option<Bytes>> {
        self.shelf().backend().answer(scoped(scope, key)).await
    }

    /// Stores an answer under a key, in place of an earlier one.
    ///
    /// # Errors
    /// It is longer than [`ENTRY_BYTES`], the store cannot be written, or a write found no room not long ago.
    pub async fn keep_answer(&self, scope: &Scope, key: [u8; 32], answer: Bytes) -> Result<()> {
        let bytes = answer.len() as u64;
        if bytes > ENTRY_BYTES {
            return Err(ArchiveError::TooLarge { what: "the answer", limit: ENTRY_BYTES as usize });
        }
        let run = match scope {
            Scope::Run(run) => self.shelf().directory(|directory| directory.live(run.0).map(|_| run.0)).await??,
            Scope::Namespace(_) | Scope::Shared => 0,
        };
        // Nobody's result depends on it: what does goes first.
        self.has_room()?;
        let room = self.shelf().committer().room(answer.len() + 256).await?;
        let (id, trim) = self.stock().add(bytes);
        let key = scoped(scope, &key);
        let mut changes = Changes::default();
        changes.answers.insert(key, AnswerRow { id, key, run, value: answer });
        let committer = self.shelf().committer();
        let stored = match committer.push(committer.epoch(), changes, room) {
            Ok(committed) => durable(committed).await,
            Err(error) => Err(error),
        };
        if trim {
            let archive = self.clone();
            tokio::spawn(async move {
                let before = archive.stock().bytes();
                let left = archive.trim_answers().await;
                archive.stock().trimmed(before, left.ok());
            });
        }
        stored
    }

    /// Removes the oldest answers; gives the bytes that are left of those that were there.
    async fn trim_answers(&self) -> Result<u64> {
        // Some room is made, so that not every answer that comes has the oldest looked for.
        let bytes = self.stock().limit / 10 * 9;
        let (_, mut left) = self.shelf().backend().answers().await?;
        while left > bytes {
            let freed = self.shelf().committer().trim((left - bytes).min(TRIMMED_BYTES)).await?;
            if freed == 0 {
                break;
            }
            left = left.saturating_sub(freed);
        }
        Ok(left)
    }
}

/// The key within its scope: nobody finds what was put under another scope, whatever key is asked for.
fn scoped(scope: &Scope, key: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    match scope {
        Scope::Run(RunId(run)) => {
            hash.update(b"run\0");
            hash.update(run.to_le_bytes());
        }
        Scope::Namespace(namespace) => {
            hash.update(b"namespace\0");
            hash.update((namespace.len() as u64).to_le_bytes());
            hash.update(namespace);
        }
        Scope::Shared => hash.update(b"shared\0"),
    }
    hash.update(key);
    hash.finalize().into()
}
