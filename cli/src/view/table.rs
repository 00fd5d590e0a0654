//! Rows under a header, aligned, for people.

use agentrun_eval::report::Table;
use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};

/// Draws a table. Columns that `numeric` names are aligned to the right. No line is wider than `width`, if given.
pub(crate) fn draw(table: &Table, numeric: &[&str], width: Option<u16>) -> String {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        grid.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    grid.set_header(table.header.iter().map(|name| name.to_uppercase()));
    for row in &table.rows {
        grid.add_row(row.iter().map(|cell| shown(cell)));
    }
    for (index, name) in table.header.iter().enumerate() {
        if let Some(column) = grid.column_mut(index) {
            column.set_padding((0, 2));
            if numeric.contains(&name.as_str()) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let lines = grid.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// A text that moves no cursor and breaks no line: what an agent or a model wrote may hold anything.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_shown() {
        let table = Table {
            header: vec!["name".into(), "count".into()],
            rows: vec![vec!["a\u{1b}[31m".into(), "7".into()], vec!["long name".into(), "12".into()]],
        };
        assert_eq!(draw(&table, &["count"], None), "NAME       COUNT\na\u{fffd}[31m         7\nlong name     12\n");
    }
}
