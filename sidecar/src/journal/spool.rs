//! A journal whose records go on to the hub: how far it is written, how far the hub has it, and how much room is left.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rusqlite::{Connection, params};
use tokio::sync::watch;

/// How long a call waits for room in a full spool: longer than a hub takes to restart.
const FOR_ROOM: Duration = Duration::from_secs(60);
/// Records that the hub has are dropped once the journal takes this part of its limit.
const TRIMMED_SHARE: u64 = 4;

/// What the journal's writer, the shipper and new calls know of each other.
pub(crate) struct Spool {
    written: watch::Sender<u64>,
    acknowledged: AtomicU64,
    /// All before this one are dropped.
    trimmed: AtomicU64,
    bytes: watch::Sender<u64>,
    limit: u64,
}

impl Spool {
    /// Of a journal that may take `limit` bytes, with its last sequence number and the bytes in use.
    pub(super) fn of(journal: &Connection, limit: u64) -> rusqlite::Result<Self> {
        let last: u64 = journal.query_row("SELECT coalesce(max(sequence), 0) FROM calls", [], |row| row.get(0))?;
        let first: u64 = journal.query_row("SELECT coalesce(min(sequence), 0) FROM calls", [], |row| row.get(0))?;
        let spool = Self {
            written: watch::Sender::new(last),
            acknowledged: AtomicU64::new(0),
            trimmed: AtomicU64::new(first),
            bytes: watch::Sender::new(0),
            limit,
        };
        spool.measure(journal);
        Ok(spool)
    }

    /// The sequence number of the last record on disk.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The hub has all records up to this one.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        self.acknowledged.fetch_max(sequence, Ordering::Relaxed);
    }

    /// The hub has lost all records after this one: they are not to be dropped.
    pub(crate) fn withdraw(&self, sequence: u64) {
        self.acknowledged.fetch_min(sequence, Ordering::Relaxed);
    }

    /// Whether dropping records is worth a look through the file: there is something to gain, and at least half of them can go.
    pub(crate) fn wants_trimming(&self) -> bool {
        let (trimmed, written) = (self.trimmed.load(Ordering::Relaxed), *self.written.borrow());
        let droppable = self.acknowledged.load(Ordering::Relaxed).saturating_sub(trimmed);
        *self.bytes.borrow() > self.limit / TRIMMED_SHARE && droppable > 0 && 2 * droppable >= written.saturating_sub(trimmed)
    }

    /// Waits while unshipped records take all the room there is.
    pub(super) async fn room(&self) -> Result<(), String> {
        self.room_within(FOR_ROOM).await
    }

    async fn room_within(&self, patience: Duration) -> Result<(), String> {
        if *self.bytes.borrow() <= self.limit {
            return Ok(());
        }
        let mut bytes = self.bytes.subscribe();
        let room = bytes.wait_for(|bytes| *bytes <= self.limit);
        match tokio::time::timeout(patience, room).await {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("the hub took none for {} s, and the spool is full", patience.as_secs())),
        }
    }

    /// The journal has been written up to `last`.
    pub(super) fn wrote(&self, journal: &Connection, last: u64) {
        self.measure(journal);
        self.written.send_replace(last);
    }

    fn measure(&self, journal: &Connection) {
        let number = |name| journal.pragma_query_value(None, name, |row| row.get::<_, u64>(0)).unwrap_or_default();
        let used = number("page_count").saturating_sub(number("freelist_count")) * number("page_size");
        self.bytes.send_replace(used);
    }

    /// Drops what the hub has, but for its last record, which keeps the numbers going on. Returns whether anything was dropped.
    pub(super) fn trim(&self, journal: &mut Connection) -> rusqlite::Result<bool> {
        if !self.wants_trimming() {
            return Ok(false);
        }
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let transaction = journal.transaction()?;
        transaction.execute("DELETE FROM calls WHERE sequence < ?1", params![acknowledged])?;
        transaction.execute_batch(
            "DELETE FROM details WHERE id NOT IN (SELECT detail FROM calls);
             DELETE FROM bodies WHERE id NOT IN
                 (SELECT request FROM details WHERE request NOT NULL UNION SELECT response FROM details WHERE response NOT NULL);",
        )?;
        transaction.commit()?;
        self.trimmed.store(acknowledged, Ordering::Relaxed);
        self.measure(journal);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::outbox::{
        BatchLimit, Outbox,
        tests::{journal, more},
    };

    fn rows(connection: &Connection) -> (u64, u64, u64) {
        let count = |table: &str| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        (count("calls"), count("details"), count("bodies"))
    }

    #[test]
    fn what_the_hub_has_makes_room_and_the_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        let mut connection = journal(&path, 100, 20_000);
        let spool = Spool::of(&connection, 1 << 20).unwrap();
        assert_eq!(*spool.written().borrow(), 100);
        assert!(!spool.trim(&mut connection).unwrap(), "nothing is acknowledged");
        spool.acknowledge(10);
        assert!(!spool.wants_trimming(), "too little to look for");
        spool.acknowledge(90);
        spool.acknowledge(80);
        let before = *spool.bytes.borrow();
        spool.withdraw(0);
        assert!(!spool.trim(&mut connection).unwrap(), "the hub has lost them all");
        spool.acknowledge(90);
        assert!(spool.trim(&mut connection).unwrap());
        assert_eq!(rows(&connection), (11, 11, 11));
        assert!(*spool.bytes.borrow() < before / 4);
        assert!(!spool.wants_trimming());
        more(&connection, 1, 1);
        let limit = BatchLimit { records: 512, bytes: 1 << 20, without_bodies: true };
        let batch = Outbox::open(&path).unwrap().after(90, limit).unwrap();
        assert_eq!((batch.first, batch.records), (91, 11));
    }

    #[tokio::test]
    async fn a_full_spool_holds_calls_up_until_there_is_room_or_no_hope() {
        let folder = tempfile::tempdir().unwrap();
        let connection = journal(&folder.path().join("calls.db"), 0, 1);
        let spool = Spool::of(&connection, 1 << 20).unwrap();
        spool.room().await.unwrap();
        spool.bytes.send_replace(2 << 20);
        let (room, ()) = tokio::join!(spool.room(), async {
            tokio::task::yield_now().await;
            spool.bytes.send_replace(1);
        });
        room.unwrap();
        spool.bytes.send_replace(2 << 20);
        assert!(spool.room_within(Duration::from_millis(10)).await.unwrap_err().contains("the spool is full"));
    }
}
