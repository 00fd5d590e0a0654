//! Writing to PostgreSQL. Each table's rows of a commit are one statement, their columns arrays.

use futures::{FutureExt, future::try_join_all};
use tokio_postgres::{Client, Statement, Transaction, types::ToSql};

use super::{Answer, Fault, SCHEMA, VERSION};
use crate::archive::{
    change::{Changes, Table, rows_of},
    error::ArchiveError,
};

/// How many answers are removed at once: others write between.
const TRIMMED: i64 = 256;

/// Makes the tables where they are missing, and takes the database over.
pub(super) async fn take_over(client: &mut Client, owner: &str) -> Answer<()> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(SCHEMA).await?;
    let found: Option<i32> = transaction.query_opt("SELECT version FROM owner WHERE id = 1", &[]).await?.map(|row| row.get(0));
    if found.is_some_and(|found| found > VERSION) {
        let message = "the database was written by a newer version: use that one".to_owned();
        return Err(Fault::Archive(ArchiveError::Broken(message)));
    }
    let sql = "INSERT INTO owner VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version";
    transaction.execute(sql, &[&owner, &VERSION]).await?;
    Ok(transaction.commit().await?)
}

/// The writing connection.
pub(super) struct Session {
    client: Client,
    owner: Statement,
    documents: Vec<(Table, Statement)>,
    outputs: Statement,
    texts: Statement,
    calls: Statement,
    answers: Statement,
}

impl Session {
    pub(super) async fn prepare(client: Client) -> Result<Self, tokio_postgres::Error> {
        let mut documents = Vec::new();
        for table in Table::ALL {
            let sql = format!(
                "INSERT INTO {} SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                table.name()
            );
            documents.push((table, client.prepare(&sql).await?));
        }
        let outputs = "INSERT INTO outputs SELECT * FROM unnest($1::bigint[], $2::bytea[]) \
             ON CONFLICT (id) DO UPDATE SET value = excluded.value";
        let texts = "INSERT INTO texts SELECT * FROM unnest($1::bigint[], $2::bytea[]) ON CONFLICT (id) DO NOTHING";
        let calls = "INSERT INTO calls SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], \
             $6::bigint[], $7::text[], $8::text[], $9::boolean[], $10::bigint[], $11::bigint[], $12::bigint[]) ON CONFLICT (id) DO NOTHING";
        let answers = "INSERT INTO answers SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[])";
        Ok(Self {
            owner: client.prepare("SELECT name FROM owner WHERE id = 1 FOR UPDATE").await?,
            documents,
            outputs: client.prepare(outputs).await?,
            texts: client.prepare(texts).await?,
            calls: client.prepare(calls).await?,
            answers: client.prepare(answers).await?,
            client,
        })
    }

    pub(super) async fn check_owner(&mut self, owner: &str) -> Answer<()> {
        let statement = self.owner.clone();
        let transaction = begin(&mut self.client, &statement, owner).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn commit(&mut self, owner: &str, changes: &Changes) -> Answer<()> {
        let statement = self.owner.clone();
        let transaction = begin(&mut self.client, &statement, owner).await?;
        let documents = self.documents.iter().map(|(table, statement)| insert_documents(&transaction, statement, *table, changes).boxed());
        let values = [
            insert_values(&transaction, &self.outputs, changes.outputs.iter().map(|(id, value)| (*id, &value[..])).collect()).boxed(),
            insert_values(&transaction, &self.texts, changes.texts.iter().map(|(id, value)| (*id, &value[..])).collect()).boxed(),
            insert_calls(&transaction, &self.calls, changes).boxed(),
            insert_answers(&transaction, &self.answers, changes).boxed(),
        ];
        // All on their way at once: none waits for the answer to the one before.
        try_join_all(documents.chain(values)).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn purge(&mut self, owner: &str, run: i64, most: usize) -> Answer<usize> {
        let statement = self.owner.clone();
        let transaction = begin(&mut self.client, &statement, owner).await?;
        let (first, last) = rows_of(run);
        let mut left = i64::try_from(most).unwrap_or(i64::MAX);
        let mut removed = 0;
        for table in ["calls", "texts", "outputs", "attempts", "trials"] {
            let sql = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id >= $1 AND id < $2 LIMIT $3)");
            let gone = transaction.execute(&sql, &[&first, &last, &left]).await?;
            removed += usize::try_from(gone).unwrap_or(usize::MAX);
            left -= i64::try_from(gone).unwrap_or(left);
        }
        let sql = "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE run = $1 LIMIT $2)";
        removed += usize::try_from(transaction.execute(sql, &[&run, &left]).await?).unwrap_or(usize::MAX);
        transaction.commit().await?;
        Ok(removed)
    }

    pub(super) async fn forget(&mut self, owner: &str, run: i64, tables: &[Table]) -> Answer<()> {
        let statement = self.owner.clone();
        let transaction = begin(&mut self.client, &statement, owner).await?;
        for table in tables {
            transaction.execute(&format!("DELETE FROM {} WHERE id = $1", table.name()), &[&run]).await?;
        }
        Ok(transaction.commit().await?)
    }

    pub(super) async fn trim(&mut self, owner: &str, bytes: u64) -> Answer<u64> {
        let statement = self.owner.clone();
        let transaction = begin(&mut self.client, &statement, owner).await?;
        let (mut gone, mut freed) = (Vec::new(), 0);
        for row in transaction.query("SELECT id, size FROM answers ORDER BY id LIMIT $1", &[&TRIMMED]).await? {
            if freed < bytes {
                gone.push(row.get::<_, i64>(0));
                freed += u64::try_from(row.get::<_, i64>(1)).unwrap_or_default();
            }
        }
        transaction.execute("DELETE FROM answers WHERE id = ANY($1)", &[&gone]).await?;
        transaction.commit().await?;
        Ok(freed)
    }
}

/// Begins a transaction that nobody else's overlaps.
async fn begin<'a>(client: &'a mut Client, statement: &Statement, owner: &str) -> Answer<Transaction<'a>> {
    let transaction = client.transaction().await?;
    let name: Option<String> = transaction.query_opt(statement, &[]).await?.map(|row| row.get(0));
    if name.as_deref() == Some(owner) { Ok(transaction) } else { Err(Fault::Archive(ArchiveError::Fenced)) }
}

async fn insert_documents(transaction: &Transaction<'_>, statement: &Statement, table: Table, changes: &Changes) -> Answer<()> {
    let rows = changes.documents.iter().filter(|((of, _), _)| *of == table);
    let (ids, documents): (Vec<i64>, Vec<&str>) = rows.map(|((_, id), document)| (*id, document.as_str())).unzip();
    if !ids.is_empty() {
        transaction.execute(statement, &[&ids, &documents]).await?;
    }
    Ok(())
}

async fn insert_values(transaction: &Transaction<'_>, statement: &Statement, rows: Vec<(i64, &[u8])>) -> Answer<()> {
    let (ids, values): (Vec<i64>, Vec<&[u8]>) = rows.into_iter().unzip();
    if !ids.is_empty() {
        transaction.execute(statement, &[&ids, &values]).await?;
    }
    Ok(())
}

async fn insert_calls(transaction: &Transaction<'_>, statement: &Statement, changes: &Changes) -> Answer<()> {
    let rows = &changes.calls;
    if rows.is_empty() {
        return Ok(());
    }
    let numbers = |of: fn(&crate::archive::change::CallRow) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
    let maybe = |of: fn(&crate::archive::change::CallRow) -> Option<i64>| rows.iter().map(of).collect::<Vec<Option<i64>>>();
    let (ids, attempts, sequences) = (numbers(|row| row.id), numbers(|row| row.attempt), numbers(|row| row.sequence));
    let (started, ended, details) = (numbers(|row| row.started_at), numbers(|row| row.ended_at), numbers(|row| row.detail));
    let names: Vec<&[u8]> = rows.iter().map(|row| &row.call[..]).collect();
    let models: Vec<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    let outcomes: Vec<&str> = rows.iter().map(|row| row.outcome.as_str()).collect();
    let cached: Vec<bool> = rows.iter().map(|row| row.cached).collect();
    let (requests, responses) = (maybe(|row| row.request), maybe(|row| row.response));
    let columns: [&(dyn ToSql + Sync); 12] =
        [&ids, &attempts, &sequences, &names, &started, &ended, &models, &outcomes, &cached, &details, &requests, &responses];
    transaction.execute(statement, &columns).await?;
    Ok(())
}

async fn insert_answers(transaction: &Transaction<'_>, statement: &Statement, changes: &Changes) -> Answer<()> {
    let rows = || changes.answers.values();
    if changes.answers.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = rows().map(|row| row.id).collect();
    let keys: Vec<&[u8]> = rows().map(|row| &row.key[..]).collect();
    let runs: Vec<i64> = rows().map(|row| row.run).collect();
    let sizes: Vec<i64> = rows().map(|row| i64::try_from(row.value.len()).unwrap_or(i64::MAX)).collect();
    let values: Vec<&[u8]> = rows().map(|row| &row.value[..]).collect();
    transaction.execute("DELETE FROM answers WHERE key = ANY($1)", &[&keys]).await?;
    transaction.execute(statement, &[&ids, &keys, &runs, &sizes, &values]).await?;
    Ok(())
}
