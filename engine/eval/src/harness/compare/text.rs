//! A comparison in words.

use std::fmt;

use super::{Comparison, Difference, Flipped};

/// Below this a difference is called one.
const LEVEL: f64 = 0.05;

/// How many flipped documents are named.
const NAMED: usize = 20;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "first: {}\nsecond: {}\n", self.names[0], self.names[1])?;
        let head = ["task", "metric", "first", "second", "difference", "95 % of differences", "p", "p, corrected"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.differences.iter().map(row));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in &rows {
            let cell = |(index, text): (usize, &String)| {
                let width = widths[index];
                if index < 2 { format!("{text:<width$}") } else { format!("{text:>width$}") }
            };
            let line: Vec<String> = row.iter().enumerate().map(cell).collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
        }
        for difference in &self.differences {
            writeln!(f)?;
            verdict(f, difference)?;
        }
        if !self.skipped.is_empty() {
            writeln!(f, "\nnot compared, because only one of them has it: {}", self.skipped.join(", "))?;
        }
        Ok(())
    }
}

fn row(difference: &Difference) -> [String; 8] {
    let [first, second] = difference.values;
    let [low, high] = difference.interval;
    [
        difference.task.clone(),
        difference.metric.clone(),
        format!("{first:.4}"),
        format!("{second:.4}"),
        format!("{:+.4}", second - first),
        format!("{low:+.4} to {high:+.4}"),
        format!("{:.4}", difference.p),
        difference.corrected_p.map_or(String::new(), |p| format!("{p:.4}")),
    ]
}

fn verdict(f: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
    let [first, second] = difference.values;
    let better = (second > first) == difference.higher_is_better;
    let p = difference.corrected_p.unwrap_or(difference.p);
    write!(f, "{} {}: ", difference.task, difference.metric)?;
    if p < LEVEL && first != second {
        writeln!(f, "the second is {}", if better { "better" } else { "worse" })?;
    } else {
        writeln!(
            f,
            "no difference shown; {} documents like these show one of {:.4} four times in five, a smaller one less often",
            difference.documents, difference.detectable
        )?;
    }
    let Some(Flipped { gained, lost }) = &difference.flipped else { return Ok(()) };
    for (what, numbers) in [("right in the second only", gained), ("right in the first only", lost)] {
        if !numbers.is_empty() {
            let named: Vec<String> = numbers.iter().take(NAMED).map(u64::to_string).collect();
            let more = if numbers.len() > NAMED { ", …" } else { "" };
            writeln!(f, "  {what} ({}): {}{more}", numbers.len(), named.join(", "))?;
        }
    }
    Ok(())
}
