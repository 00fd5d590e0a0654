//! Tables with typed columns: Parquet and JSON.

use std::sync::Arc;

use agentrun_eval::report::Table;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use serde_json::{Map, Value};

/// A table cannot be written as Parquet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("laying out the columns")]
    Columns(#[from] ArrowError),
    #[error("writing Parquet")]
    Parquet(#[from] ParquetError),
}

/// What a column holds, by its name.
fn kind(name: &str) -> DataType {
    match name {
        "rank" | "trials" | "failed" | "sample" | "attempt" | "calls" | "cached" => DataType::Int64,
        "score" | "standard_error" | "latency_seconds" | "usd" | "spent_usd" | "saved_usd" => DataType::Float64,
        "tied_with_best" | "pareto" | "simulated" => DataType::Boolean,
        _ => DataType::Utf8,
    }
}

/// The table as a Parquet file (zstd). An empty cell is null; money is in float dollars.
///
/// # Errors
/// None that a table can cause.
pub(crate) fn file(table: &Table) -> Result<Vec<u8>, WriteError> {
    let fields: Vec<Field> = table.header.iter().map(|name| Field::new(name, kind(name), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = table.header.iter().enumerate().map(|(index, name)| column(table, index, &kind(name))).collect();
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// The table as an array of objects. An empty cell is null, money is a decimal string as everywhere in JSON.
pub(crate) fn objects(table: &Table) -> Value {
    let object = |row: &Vec<String>| {
        let members = table.header.iter().zip(row).map(|(name, cell)| (name.clone(), member(name, cell)));
        Value::Object(members.collect::<Map<_, _>>())
    };
    Value::Array(table.rows.iter().map(object).collect())
}

fn member(name: &str, cell: &str) -> Value {
    if cell.is_empty() {
        return Value::Null;
    }
    match kind(name) {
        DataType::Float64 if !name.ends_with("usd") => cell.parse::<f64>().map(Value::from).unwrap_or_else(|_| cell.into()),
        DataType::Int64 => cell.parse::<i64>().map(Value::from).unwrap_or_else(|_| cell.into()),
        DataType::Boolean => cell.parse::<bool>().map(Value::from).unwrap_or_else(|_| cell.into()),
        _ => cell.into(),
    }
}

fn column(table: &Table, index: usize, kind: &DataType) -> ArrayRef {
    let cells = table.rows.iter().map(|row| row.get(index).map(String::as_str).filter(|cell| !cell.is_empty()));
    match kind {
        DataType::Int64 => Arc::new(cells.map(|cell| cell?.parse().ok()).collect::<Int64Array>()),
        DataType::Float64 => Arc::new(cells.map(|cell| cell?.parse().ok()).collect::<Float64Array>()),
        DataType::Boolean => Arc::new(cells.map(|cell| cell?.parse().ok()).collect::<BooleanArray>()),
        _ => Arc::new(cells.collect::<StringArray>()),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let header = ["rank", "combo", "usd", "standard_error", "pareto"].map(str::to_owned).into();
        let rows = [["1", "a=b", "0.0121", "0.5", "true"], ["2", "", "", "", "false"]];
        Table { header, rows: rows.into_iter().map(|row| row.map(str::to_owned).into()).collect() }
    }

    #[test]
    fn a_file_is_read_back_with_its_types_and_nulls() {
        let bytes = Bytes::from(file(&table()).unwrap());
        let mut batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let batch = batches.next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 2);
        let ranks: Vec<_> = batch.column(0).as_primitive::<arrow_array::types::Int64Type>().iter().collect();
        assert_eq!(ranks, [Some(1), Some(2)]);
        assert_eq!(batch.column(1).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a=b"), None]);
        let usd: Vec<_> = batch.column(2).as_primitive::<arrow_array::types::Float64Type>().iter().collect();
        assert_eq!(usd, [Some(0.0121), None]);
        assert_eq!(batch.column(4).as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false)]);
    }

    #[test]
    fn objects_keep_money_exact() {
        let expected = json!([
            {"rank": 1, "combo": "a=b", "usd": "0.0121", "standard_error": 0.5, "pareto": true},
            {"rank": 2, "combo": null, "usd": null, "standard_error": null, "pareto": false},
        ]);
        assert_eq!(objects(&table()), expected);
    }
}
