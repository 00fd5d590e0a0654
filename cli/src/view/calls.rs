//! Records of calls for people and programs.

use agentrun_eval::{decimal, report::Table};
use agentrun_llm::call::CallRecord;
use serde_json::Value;

use super::table::draw;

/// The members of a record that a CSV leaves out: they are no one-line values.
const BODIES: [&str; 2] = ["request_body", "response_body"];

/// One row a call.
pub(crate) fn text(records: &[CallRecord]) -> String {
    let header = ["time", "data id", "combo", "model", "outcome", "cached", "in", "out", "latency", "cost"].map(str::to_owned).into();
    let rows = records.iter().map(|record| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let tokens = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let usage = record.usage();
        vec![
            record.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            or_dash(&record.data_id),
            or_dash(&record.combo_id),
            record.model.clone(),
            record.outcome.as_str().to_owned(),
            if record.cached { "yes" } else { "no" }.to_owned(),
            tokens(usage.and_then(|usage| usage.input_tokens)),
            tokens(usage.and_then(|usage| usage.output_tokens)),
            format!("{:.2} s", record.latency_seconds),
            record.cost_usd.map_or("-".to_owned(), |cost| format!("${}", decimal::usd(cost))),
        ]
    });
    draw(&Table { header, rows: rows.collect() }, &["in", "out", "latency", "cost"], None)
}

/// The header of the CSV: the record's keys, those of its usage with `usage_` before them.
///
/// # Errors
/// None that a record can cause.
pub(crate) fn columns(records: &[CallRecord]) -> serde_json::Result<Table> {
    let mut table = Table { header: Vec::new(), rows: Vec::new() };
    for record in records {
        let cells = cells(record)?;
        // Usage is null where it was not read, and then its columns are not known yet: columns are found by name.
        for (name, _) in &cells {
            if !table.header.contains(name) {
                table.header.push(name.clone());
            }
        }
        let row =
            table.header.iter().map(|name| cells.iter().find(|(cell, _)| cell == name).map(|(_, text)| text.clone()).unwrap_or_default());
        table.rows.push(row.collect());
    }
    for row in &mut table.rows {
        row.resize(table.header.len(), String::new());
    }
    Ok(table)
}

fn cells(record: &CallRecord) -> serde_json::Result<Vec<(String, String)>> {
    let Value::Object(members) = serde_json::to_value(record)? else {
        return Ok(Vec::new());
    };
    let mut cells = Vec::new();
    for (name, value) in members {
        match value {
            _ if BODIES.contains(&name.as_str()) => {}
            Value::Object(usage) => cells.extend(usage.into_iter().map(|(key, value)| (format!("{name}_{key}"), cell(value)))),
            Value::Null if name == "usage" => {}
            value => cells.push((name, cell(value))),
        }
    }
    Ok(cells)
}

fn cell(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}
