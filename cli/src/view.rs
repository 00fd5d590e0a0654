//! Data as text. Nothing here prints.

pub(crate) mod calls;
pub(crate) mod conditions;
pub(crate) mod parquet;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod trials;

use agentrun_eval::report::Table;
use serde::Serialize;

/// A value as JSON for people and programs, with a line end.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// A value as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<Vec<u8>, serde_saphyr::SerializeError> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text.into_bytes())
}

/// A table as CSV (RFC 4180, LF line ends).
pub(crate) fn csv(table: &Table) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&table.header)?;
    for row in &table.rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// A table with one more column, the same in every row.
pub(crate) fn with_column(mut table: Table, name: &str, value: &str) -> Table {
    table.header.push(name.to_owned());
    for row in &mut table.rows {
        row.push(value.to_owned());
    }
    table
}
