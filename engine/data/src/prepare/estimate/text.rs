//! The estimate as people read it: aligned, three digits, each number with how far off it may be.

use std::fmt;

use super::{Estimate, Found, Measured};

impl Estimate {
    /// The estimate as lines, a word at the start of each.
    pub fn lines(&self) -> Vec<String> {
        let known = self.kept.error.is_some();
        let mut lines = vec![
            line("sampled", &self.extent()),
            line("kept", &self.amounts()),
            line("dropped", &self.drops()),
            line("time", &format!("{} with {}", duration(self.time), plural(self.workers, "worker"))),
            line("disk", &format!("{} while it runs, {} when done", size(self.working_disk), size(self.disk))),
            line("memory", &format!("{} of {}", scaled(self.memory, &MEMORY), memory(self.memory_limit as f64))),
        ];
        if self.whole {
            lines.push(line("error", "none of the text: all of it was read; the rest is measured on a small scale"));
        } else if !known {
            lines.push(line("error", "unknown: there is nothing to compare this sample with"));
        } else {
            lines.push(line("error", "± is the 95 % interval, as far as the parts sampled are like the others"));
        }
        lines.extend(self.copies());
        lines.extend(self.notes.iter().map(|note| line("note", note)));
        lines
    }

    fn extent(&self) -> String {
        let text = bytes(self.sampled.bytes as f64);
        let partitions = plural(self.partitions, "partition");
        if self.whole && self.sampled_partitions == self.partitions {
            format!("all of {partitions} ({text} of text)")
        } else {
            format!("{} of {partitions} ({text} of text)", self.sampled_partitions)
        }
    }

    fn amounts(&self) -> String {
        format!(
            "{} of {} ({}), about {} tokens",
            size(self.kept),
            bytes(self.text.value),
            percent(self.kept_share),
            count(self.tokens)
        )
    }

    fn drops(&self) -> String {
        let mut shares: Vec<_> = self.filters.iter().filter(|share| share.dropped.value >= 0.0005).collect();
        shares.sort_by(|a, b| b.dropped.value.total_cmp(&a.dropped.value));
        let one = |share: &&super::FilterShare| format!("{} {}", share.filter, percent(share.dropped));
        let words: Vec<String> = shares.iter().map(one).collect();
        if words.is_empty() { "nothing by filters that look at one document".into() } else { words.join(", ") }
    }

    fn copies(&self) -> Vec<String> {
        let share = |found: &&Found| {
            let share = found.dropped.bytes as f64 / found.seen.bytes.max(1) as f64;
            format!("{} {}", found.filter, percent(Measured::exactly(share)))
        };
        let of = |at_least| -> Vec<String> {
            self.within_sample.iter().filter(|found| found.at_least == at_least).map(|found| share(&found)).collect()
        };
        let (copies, others) = (of(true), of(false));
        let mut lines = Vec::new();
        if !copies.is_empty() {
            lines.push("duplicates are not in these numbers: a sample cannot show them".into());
            lines.push(format!("  copies within the sample, of the text: at least {}", copies.join(", ")));
        }
        if !others.is_empty() {
            lines.push(format!("not in these numbers, of the text in the sample: about {}", others.join(", ")));
        }
        lines
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

fn line(word: &str, text: &str) -> String {
    format!("{word:<10} {text}")
}

fn plural(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

const BYTES: [(f64, &str); 5] = [(1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")];
const MEMORY: [(f64, &str); 4] =
    [((1_u64 << 40) as f64, " TiB"), ((1 << 30) as f64, " GiB"), ((1 << 20) as f64, " MiB"), (1.0, " B")];
const COUNT: [(f64, &str); 5] = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, "")];

/// `1.50 GiB`: memory is given in such units.
pub fn memory(number: f64) -> String {
    scaled(Measured::exactly(number), &MEMORY)
}

/// `41.2 GB`.
fn bytes(number: f64) -> String {
    scaled(Measured::exactly(number), &BYTES)
}

/// `41.2 GB ± 1.3`.
fn size(measured: Measured) -> String {
    scaled(measured, &BYTES)
}

/// `9.20B ± 0.31`.
fn count(measured: Measured) -> String {
    scaled(measured, &COUNT)
}

fn scaled(measured: Measured, units: &[(f64, &str)]) -> String {
    let smallest = units[units.len() - 1];
    let (unit, word) = units.iter().copied().find(|(unit, _)| measured.value >= 0.9995 * unit).unwrap_or(smallest);
    let value = measured.value / unit;
    let digits = if unit <= 1.0 { 0 } else { digits(value) };
    format!("{value:.digits$}{word}{}", bar(measured.error, unit, digits))
}

/// `18 % ± 0.6`.
fn percent(measured: Measured) -> String {
    let percent = measured.value * 100.0;
    let digits = usize::from(percent < 9.95);
    format!("{percent:.digits$} %{}", bar(measured.error, 0.01, digits))
}

/// `8.3 s ± 0.4`, `41 m ± 3 m`, `2 h 10 m ± 12 m`.
fn duration(measured: Measured) -> String {
    let error = measured.error.filter(|error| *error > 0.0);
    if measured.value < 59.95 {
        let value = measured.value;
        return format!("{value:.1} s{}", bar(error, 1.0, 1));
    }
    match error {
        Some(error) => format!("{} ± {}", hours(measured.value), hours(error)),
        None => hours(measured.value),
    }
}

fn hours(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} m"),
        60..1440 => format!("{} h {:02} m", minutes / 60, minutes % 60),
        _ => format!("{} d {:02} h", minutes / 1440, minutes % 1440 / 60),
    }
}

/// Three digits in all.
fn digits(value: f64) -> usize {
    match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    }
}

/// ` ± 1.3`: two digits, at least those of the value; nothing where the number is known or nothing is known of it.
fn bar(error: Option<f64>, unit: f64, digits: usize) -> String {
    let Some(error) = error.filter(|error| *error > 0.0) else { return String::new() };
    let error = error / unit;
    let least = match error {
        ..0.01 => return " ± 0.01".into(),
        ..0.095 => 2,
        ..0.95 => 1,
        _ => 0,
    };
    let digits = digits.max(least);
    format!(" ± {error:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_their_error() {
        let with = |value, error| Measured { value, error: Some(error) };
        assert_eq!(size(with(41.23e9, 1.31e9)), "41.2 GB ± 1.3");
        assert_eq!(size(with(999.6e6, 0.0)), "1.00 GB");
        assert_eq!(size(with(225e9, 4.4e9)), "225 GB ± 4");
        assert_eq!(size(Measured { value: 17e9, error: None }), "17.0 GB");
        assert_eq!(size(with(225e9, 1e5)), "225 GB ± 0.01");
        assert_eq!([bytes(0.0), bytes(734.0), bytes(1500.0)], ["0 B", "734 B", "1.50 kB"]);
        assert_eq!(count(with(9.2e9, 0.31e9)), "9.20B ± 0.31");
        assert_eq!(percent(with(0.183, 0.006)), "18 % ± 0.6");
        assert_eq!(percent(with(0.031, 0.02)), "3.1 % ± 2.0");
        assert_eq!(duration(with(7800.0, 720.0)), "2 h 10 m ± 12 m");
        assert_eq!(duration(with(8.34, 0.4)), "8.3 s ± 0.4");
        assert_eq!(duration(Measured { value: 200_000.0, error: None }), "2 d 07 h");
    }
}
