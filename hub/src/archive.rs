//! The cluster's store: runs, their trials and attempts, every call's record, outputs, stored answers.
//!
//! All state of a run that decisions need is held in memory and is decided upon by pure code ([`run`]); each decision is a set of rows to
//! write ([`change`]), and its caller is answered when they are durable. Rows of many callers are committed together ([`committer`]).
//! SQLite and PostgreSQL differ only in how such a set is written and how rows are read ([`backend`]), so that both decide alike. After a
//! failed commit the state in memory is forgotten and read again ([`shelf`]): what is acknowledged is what is stored.

use std::{collections::HashSet, sync::Arc, time::Duration};

mod answers;
mod attempt;
mod backend;
mod change;
mod committer;
mod directory;
mod error;
mod lines;
pub(crate) mod plan;
mod pods;
mod postgres;
pub(crate) mod ranges;
mod readers;
mod registry;
mod results;
pub(crate) mod run;
mod shelf;
mod sqlite;
pub(crate) mod sums;
mod types;
mod verdict;

use answers::Stock;
use backend::Backend;
use committer::Committer;
use directory::Phase;
pub use error::{ArchiveError, Kind};
use shelf::Shelf;
pub use types::{AttemptId, BATCH_BYTES, Claimed, Claims, Location, OUTPUT_BYTES, Place, Pod, Retention, RunId, Scope, Settings};

type Result<T> = std::result::Result<T, ArchiveError>;

/// The cluster's store. Clones are the same store.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    shelf: Shelf,
    stock: Stock,
    shared_namespaces: HashSet<String>,
}

impl Archive {
    /// Opens the store, makes its tables where they are missing, and takes it over from whoever used it before. Needs a tokio runtime.
    ///
    /// # Errors
    /// The store cannot be used: [`ArchiveError::Settings`], [`ArchiveError::Unavailable`], [`ArchiveError::Broken`].
    pub async fn open(settings: Settings) -> Result<Self> {
        let backend = Backend::open(&settings).await?;
        let stock = Stock::new(backend.answers().await?, settings.answer_bytes);
        let shelf = Shelf::new(backend.clone(), Committer::start(backend));
        let archive = Self(Arc::new(Inner { shelf, stock, shared_namespaces: settings.shared_namespaces.into_iter().collect() }));
        let gone = |(id, phase): (i64, Phase)| (phase != Phase::Live).then_some((id, phase));
        let rows: Vec<(i64, Phase)> = archive.shelf().directory(|all| all.iter().map(|(id, row)| (id, row.phase)).collect()).await?;
        rows.into_iter().filter_map(gone).for_each(|(id, phase)| archive.purge(id, phase));
        Ok(archive)
    }

    /// Forgets what is in memory of runs that nobody asked for in so long, some minutes at least; gives how many. Who asks later has them read.
    pub fn forget_idle(&self, idle: Duration) -> usize {
        self.shelf().forget_idle(idle)
    }

    /// Whether writes are taken now.
    ///
    /// # Errors
    /// Why they are not.
    pub fn health(&self) -> Result<()> {
        self.shelf().committer().writable()
    }

    /// Whether there is room for whatever waits to be written.
    ///
    /// # Errors
    /// [`ArchiveError::Full`].
    pub fn has_room(&self) -> Result<()> {
        self.shelf().committer().has_room()
    }

    fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    fn stock(&self) -> &Stock {
        &self.0.stock
    }

    fn shares(&self, namespace: &str) -> bool {
        self.0.shared_namespaces.contains(namespace)
    }
}
