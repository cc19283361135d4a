//! Tables on the terminal.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// A line under the header, nothing else: easy to read, and to cut apart with `awk`.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with these columns, as wide as the terminal at most; unbounded where the output is no terminal.
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Dynamic).set_header(columns);
    table
}
