//! Runs come and go.

use agentrun_protocol::{query, run::Registration};
use jiff::Timestamp;

use super::{
    Archive, Result,
    change::{Changes, Table},
    directory::{Directory, Phase, RunRow},
    error::ArchiveError,
    plan::{Plan, Registered},
    run::{Activity, Names, RunState, read_document},
    types::{Retention, RunId},
};

/// How many rows are removed at once: others write between.
const PURGED: usize = 2000;
/// A run that changed within so many seconds is kept whatever the rules say.
const FRESH_SECONDS: i64 = 3600;

impl Archive {
    /// Registers a run, or a later generation of its spec. An equal registration changes nothing; another uid under the same name is another run.
    /// Without datapoints, those of before stand.
    ///
    /// # Errors
    /// A spec or datapoints of no use; datapoints, or after the first trial combos, samples or scoring, that differ from those registered;
    /// no datapoints for a new uid ([`ArchiveError::NoRun`]).
    pub async fn register(&self, namespace: &str, name: &str, registration: Registration) -> Result<RunId> {
        let shown = format!("{namespace}/{name}");
        let Registration { uid, generation, spec, datapoints } = registration;
        let refused = |problem: String| ArchiveError::Registration { run: shown.clone(), problem };
        if uid.is_empty() {
            return Err(refused("it has no uid".to_owned()));
        }
        let found = self.shelf().directory(|directory| known(directory, namespace, name, &uid)).await??;
        let mut registered = Registered { generation, spec, datapoints };
        match found {
            Some(id) => {
                let open = self.shelf().open(RunId(id)).await?;
                if registered.datapoints.is_empty() {
                    registered.datapoints.clone_from(&open.lock().plan()?.registered.datapoints);
                }
                let bytes = size_of_registration(&registered);
                let plan = read_plan(registered).await?.map_err(refused)?;
                let decide = |state: &mut RunState| Ok(((), state.register(plan, Timestamp::now())?));
                self.shelf().commit(&open, bytes, decide).await?;
                Ok(RunId(id))
            }
            None if registered.datapoints.is_empty() => Err(ArchiveError::NoRun(shown)),
            None => {
                let bytes = size_of_registration(&registered);
                let plan = read_plan(registered).await?.map_err(refused)?;
                let names = Names { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.clone() };
                let find = |directory: &Directory| known(directory, namespace, name, &uid);
                self.shelf().create(bytes, find, |id| make(id, names, Some(plan))).await
            }
        }
    }

    /// The newest run of this name, made where there is none; the unregistered one where that has the pod.
    pub(super) async fn run_of_pods(&self, namespace: &str, name: &str, pod: &str) -> Result<RunId> {
        let before = |directory: &Directory| directory.unregistered(namespace, name).map(RunId);
        if let Some(run) = self.shelf().directory(before).await?
            && self.shelf().open(run).await?.lock().has_pod(pod)
        {
            return Ok(run);
        }
        let names = Names { namespace: namespace.to_owned(), name: name.to_owned(), uid: String::new() };
        let newest =
            |directory: &Directory| Ok(directory.newest(namespace, name).filter(|(_, row)| row.phase == Phase::Live).map(|(id, _)| id));
        match self.shelf().directory(newest).await?? {
            Some(id) => Ok(RunId(id)),
            None => self.shelf().create(1024, newest, |id| make(id, names, None)).await,
        }
    }

    /// The run of this name that began last; with `uid`, that one alone.
    ///
    /// # Errors
    /// [`ArchiveError::NoRun`], [`ArchiveError::Expired`].
    pub async fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<RunId> {
        let look = |directory: &Directory| {
            let found = match uid {
                Some(uid) => directory.of_uid(namespace, uid).filter(|(_, row)| row.names.name == name),
                None => directory.newest(namespace, name),
            };
            let (id, _) = found.ok_or_else(|| ArchiveError::NoRun(format!("{namespace}/{name}")))?;
            directory.live(id).map(|_| RunId(id))
        };
        self.shelf().directory(look).await?
    }

    /// Deletes a run with all that belongs to it. It is gone for everybody at once; its rows go in the background, also after a restart.
    /// A run that is not there is deleted already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let look = |directory: &Directory| {
            let found = directory.of_uid(namespace, uid).filter(|(_, row)| row.names.name == name);
            found.map(|(id, row)| (id, row.clone()))
        };
        if let Some((id, row)) = self.shelf().directory(look).await? {
            self.shelf().retire(id, RunRow { phase: Phase::Deleted, ..row }).await?;
            self.purge(id, Phase::Deleted);
        }
        Ok(())
    }

    /// Removes the data of runs that are no longer to be kept; gives how many runs.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn retain(&self, retention: Retention, now: Timestamp) -> Result<usize> {
        let activities = self.shelf().backend().documents(Table::Activities, 0, i64::MAX).await?;
        let rows: Vec<(i64, RunRow)> = self.shelf().directory(|all| all.iter().map(|(id, row)| (id, row.clone())).collect()).await?;
        let mut runs = Vec::new();
        for (id, row) in rows.into_iter().filter(|(_, row)| row.phase == Phase::Live) {
            let found = activities.binary_search_by_key(&id, |(id, _)| *id).ok();
            let activity = found.map(|at| read_document::<Activity>("activity", &activities[at].1)).transpose()?;
            runs.push((id, activity.unwrap_or_default(), row));
        }
        let doomed = doomed(runs, &retention, now.as_second());
        let count = doomed.len();
        for (id, row) in doomed {
            let phase = if row.names.uid.is_empty() { Phase::Deleted } else { Phase::Expired };
            self.shelf().retire(id, RunRow { phase, ..row }).await?;
            self.purge(id, phase);
        }
        Ok(count)
    }

    /// Removes a run's rows in the background.
    pub(super) fn purge(&self, id: i64, phase: Phase) {
        let archive = self.clone();
        tokio::spawn(async move {
            let mut forget = vec![Table::Registrations, Table::Activities];
            // The last run's row stays, so that its number is not given again.
            let last = archive.shelf().directory(|all| all.next() == id + 1).await.unwrap_or(true);
            forget.extend((phase == Phase::Deleted && !last).then_some(Table::Runs));
            loop {
                match archive.shelf().committer().purge(id, PURGED, forget.clone()).await {
                    Ok(0) | Err(ArchiveError::Fenced) => break,
                    Ok(_) => {}
                    Err(problem) => {
                        tracing::warn!(%problem, "cannot remove a deleted run's rows; trying again in a minute");
                        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
                    }
                }
            }
        });
    }

    /// The runs of a namespace, newest first.
    ///
    /// # Errors
    /// A cursor that is none.
    pub async fn runs(&self, namespace: &str, limit: Option<u64>, cursor: Option<&str>) -> Result<query::Runs> {
        let before = super::readers::number(cursor)?.unwrap_or(i64::MAX as u64);
        let limit = super::readers::page(limit);
        let look = |directory: &Directory| {
            let rows =
                directory.iter().filter(|(id, row)| (*id as u64) < before && row.phase == Phase::Live && row.names.namespace == namespace);
            rows.take(limit + 1).map(|(id, row)| (id, row.clone())).collect::<Vec<_>>()
        };
        let mut rows = self.shelf().directory(look).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(id, _)| id.to_string());
        let mut items = Vec::new();
        for (id, row) in rows {
            let activity = self.shelf().backend().documents(Table::Activities, id, id + 1).await?.pop();
            let activity = activity.map(|(_, text)| read_document::<Activity>("activity", &text)).transpose()?;
            items.push(row.shown(activity.unwrap_or_default().calls));
        }
        Ok(query::Page { items, next })
    }
}

/// The run of this uid, which must be of this name.
fn known(directory: &Directory, namespace: &str, name: &str, uid: &str) -> Result<Option<i64>> {
    let Some((id, row)) = directory.of_uid(namespace, uid) else { return Ok(None) };
    if row.names.name != name {
        let run = format!("{namespace}/{name}");
        return Err(ArchiveError::Registration { run, problem: format!("its uid is that of run {}", row.names.name) });
    }
    directory.live(id).map(|_| Some(id))
}

fn make(id: i64, names: Names, plan: Option<Plan>) -> Result<(RunRow, RunState, Changes)> {
    let now = Timestamp::now();
    let row = RunRow { names: names.clone(), started: now.as_microsecond(), phase: Phase::Live };
    let mut state = RunState::new(id, names, now);
    let changes = match plan {
        Some(plan) => state.register(plan, now)?,
        None => Changes::default(),
    };
    Ok((row, state, changes))
}

async fn read_plan(registered: Registered) -> Result<std::result::Result<Plan, String>> {
    let read = tokio::task::spawn_blocking(move || Plan::read(registered)).await;
    read.map_err(|error| ArchiveError::Unavailable(format!("reading a registration: {error}")))
}

fn size_of_registration(registered: &Registered) -> usize {
    4096 * (registered.datapoints.len() + 1)
}

/// Which runs the rules remove.
fn doomed(mut runs: Vec<(i64, Activity, RunRow)>, retention: &Retention, now: i64) -> Vec<(i64, RunRow)> {
    runs.sort_by_key(|(id, activity, _)| std::cmp::Reverse((activity.changed, *id)));
    let most = retention.runs.unwrap_or(usize::MAX);
    let age = retention.age.map_or(i64::MAX, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    let doomed = runs.into_iter().enumerate().filter(|(place, (_, activity, row))| {
        let idle = now.saturating_sub(activity.changed);
        let settled = (activity.over || row.names.uid.is_empty()) && idle >= FRESH_SECONDS;
        settled && (*place >= most || idle >= age)
    });
    doomed.map(|(_, (id, _, row))| (id, row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_settled_runs_are_removed_and_the_latest_last() {
        let run = |id: i64, changed: i64, over: bool, uid: &str| {
            let row = RunRow { names: Names { uid: uid.to_owned(), ..Names::default() }, ..RunRow::default() };
            (id, Activity { changed, over, calls: 0 }, row)
        };
        let now = 1_000_000;
        // Over and old, over and fresh, not over and old, foreign and old, over and a little old.
        let runs = || {
            vec![
                run(1, 0, true, "a"),
                run(2, now - 5, true, "b"),
                run(3, 1, false, "c"),
                run(4, 2, true, ""),
                run(5, now - 4000, true, "e"),
            ]
        };
        let ids = |retention: Retention| doomed(runs(), &retention, now).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(Retention::default()), Vec::<i64>::new());
        assert_eq!(ids(Retention { age: Some(Duration::from_secs(10_000)), runs: None }), [4, 1]);
        assert_eq!(ids(Retention { age: None, runs: Some(1) }), [5, 4, 1]);
        assert_eq!(ids(Retention { age: Some(Duration::ZERO), runs: Some(0) }), [5, 4, 1]);
    }
}
