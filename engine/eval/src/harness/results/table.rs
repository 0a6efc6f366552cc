//! The table of scores, in Markdown, as lm-evaluation-harness prints it.
//!
//! Its table writer looks at a whole column before it prints a number: digits that no value of the column needs are left
//! out, and a column where a value is unknown is one of texts. That is why a lone accuracy of 0.5 stands there as `0.5`
//! and beside one of 0.1234 as `0.5000`.

use super::super::metrics::Aggregate;

/// One score.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// The task.
    pub task: String,
    /// Version of its definition.
    pub version: f64,
    /// Examples before each question.
    pub shots: usize,
    /// The metric.
    pub metric: String,
    /// Whether a larger value is a better one, where that is known.
    pub higher_is_better: Option<bool>,
    /// The value.
    pub score: Aggregate,
}

/// The most digits behind the point.
const DIGITS: usize = 4;

/// What stands for an unknown error.
const UNKNOWN: &str = "   N/A";

struct Column {
    title: &'static str,
    right: bool,
    cells: Vec<(String, bool)>,
}

/// The table of `rows`, sorted by task and metric, with a line end behind each line.
pub fn table(rows: &[TableRow]) -> String {
    let mut rows: Vec<&TableRow> = rows.iter().collect();
    rows.sort_by(|a, b| (&a.task, &a.metric).cmp(&(&b.task, &b.metric)));
    let first = |index: usize| index == 0 || rows[index - 1].task != rows[index].task;
    let arrow = |row: &TableRow| match row.higher_is_better {
        Some(true) => "↑",
        Some(false) => "↓",
        None => "",
    };
    let texts = |title, text: &dyn Fn(usize, &TableRow) -> String| Column {
        title,
        right: false,
        cells: rows.iter().enumerate().map(|(index, row)| (text(index, row), false)).collect(),
    };
    let versions: Vec<Option<f64>> = rows.iter().map(|row| Some(row.version)).collect();
    let mut version = numbers("Version", &versions);
    for (index, cell) in version.cells.iter_mut().enumerate().filter(|(index, _)| !first(*index)) {
        debug_assert!(index > 0);
        cell.0.clear();
    }
    let values: Vec<Option<f64>> = rows.iter().map(|row| Some(row.score.value)).collect();
    let errors: Vec<Option<f64>> = rows.iter().map(|row| row.score.standard_error).collect();
    let shots: Vec<Option<f64>> = rows.iter().map(|row| Some(row.shots as f64)).collect();
    let columns = [
        texts("Tasks", &|index, row| if first(index) { row.task.clone() } else { String::new() }),
        version,
        texts("Filter", &|_, _| "none".to_owned()),
        numbers("n-shot", &shots),
        texts("Metric", &|_, row| row.metric.clone()),
        texts("", &|_, row| arrow(row).to_owned()),
        numbers("Value", &values),
        texts("", &|_, _| "±".to_owned()),
        numbers("Stderr", &errors),
    ];
    written(&columns, rows.len())
}

/// A column of numbers, `None` where a value is unknown.
fn numbers(title: &'static str, values: &[Option<f64>]) -> Column {
    let needed = values.iter().flatten().map(|value| digits(*value)).max().unwrap_or(0);
    let known = values.iter().all(Option::is_some);
    // A column that begins with an unknown value is one of texts throughout.
    let texts = values.first().is_some_and(Option::is_none);
    let cell = |value: &Option<f64>| match value {
        None => (UNKNOWN.to_owned(), false),
        Some(value) if texts => (fixed(*value, DIGITS), false),
        Some(value) if known => (fixed(*value, needed), true),
        Some(value) if digits(*value) == 0 => (fixed(*value, 0), true),
        Some(value) => (fixed(*value, needed), true),
    };
    Column { title, right: known, cells: values.iter().map(cell).collect() }
}

/// How many digits a value has behind its point, after four.
fn digits(value: f64) -> usize {
    if !value.is_finite() {
        return 0;
    }
    let text = fixed(value, DIGITS);
    let behind = text.split_once('.').map_or("", |(_, behind)| behind);
    behind.trim_end_matches('0').len()
}

fn fixed(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return "Infinity".to_owned();
    }
    // Rounded to four digits first, so that fewer never round twice differently, and without a minus before zero.
    let text = format!("{value:.DIGITS$}");
    let text = if text.trim_matches(|c| "-0.".contains(c)).is_empty() { text.replace('-', "") } else { text };
    match (digits, text.split_once('.')) {
        (0, Some((whole, _))) => whole.to_owned(),
        (_, Some((whole, behind))) => format!("{whole}.{}", &behind[..digits.min(behind.len())]),
        _ => text,
    }
}

fn written(columns: &[Column], rows: usize) -> String {
    let width = |column: &Column| {
        let cells = column.cells.iter().map(|(text, _)| text.chars().count());
        cells.chain([column.title.chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let mut text = String::new();
    let mut line = |cells: Vec<String>| text += &format!("|{}|\n", cells.join("|"));
    line(columns.iter().zip(&widths).map(|(column, width)| format!("{:^width$}", column.title)).collect());
    let rule = |(column, width): (&Column, &usize)| {
        if column.right { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(*width) }
    };
    line(columns.iter().zip(&widths).map(rule).collect());
    for row in 0..rows {
        let cell = |(column, width): (&Column, &usize)| {
            let (cell, right) = &column.cells[row];
            if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        };
        line(columns.iter().zip(&widths).map(cell).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(task: &str, metric: &str, value: f64, standard_error: Option<f64>) -> TableRow {
        let score = Aggregate { value, standard_error };
        TableRow {
            task: task.into(),
            version: 1.0,
            shots: 0,
            metric: metric.into(),
            higher_is_better: Some(true),
            score,
        }
    }

    #[test]
    fn a_column_shows_the_digits_that_it_needs() {
        let rows =
            [row("b", "acc", 1.0, Some(0.0)), row("a", "acc_norm", 0.5, Some(0.1)), row("a", "acc", 2.0, Some(0.25))];
        insta::assert_snapshot!(table(&rows), @r"
        |Tasks|Version|Filter|n-shot| Metric |   |Value|   |Stderr|
        |-----|------:|------|-----:|--------|---|----:|---|-----:|
        |a    |      1|none  |     0|acc     |↑  |  2.0|±  |  0.25|
        |     |       |none  |     0|acc_norm|↑  |  0.5|±  |  0.10|
        |b    |      1|none  |     0|acc     |↑  |  1.0|±  |  0.00|
        ");
    }

    #[test]
    fn an_unknown_error_makes_a_column_of_texts() {
        let rows =
            [row("a", "acc", -0.000_01, Some(0.0)), row("b", "acc", f64::NAN, None), row("c", "acc", 1e20, Some(0.5))];
        insta::assert_snapshot!(table(&rows), @r"
        |Tasks|Version|Filter|n-shot|Metric|   |        Value        |   |Stderr|
        |-----|------:|------|-----:|------|---|--------------------:|---|------|
        |a    |      1|none  |     0|acc   |↑  |                    0|±  |     0|
        |b    |      1|none  |     0|acc   |↑  |                  NaN|±  |   N/A|
        |c    |      1|none  |     0|acc   |↑  |100000000000000000000|±  |   0.5|
        ");
        let rows = [row("a", "acc", 0.5, None), row("b", "acc", 0.25, Some(0.5))];
        insta::assert_snapshot!(table(&rows), @r"
        |Tasks|Version|Filter|n-shot|Metric|   |Value|   |Stderr|
        |-----|------:|------|-----:|------|---|----:|---|------|
        |a    |      1|none  |     0|acc   |↑  | 0.50|±  |   N/A|
        |b    |      1|none  |     0|acc   |↑  | 0.25|±  |0.5000|
        ");
    }
}
