//! How results and failures look: data on standard output, all else on standard error, hints on their own line.

use std::io::{IsTerminal, Write};

use psann_core::error::Fault;
use psann_train::launch::Exit;

use crate::stop;

/// Why the program ends without success.
#[derive(Debug)]
pub enum Failure {
    /// An error of the work or of the arguments.
    Error(psann_core::Error),
    /// Something wrong in a recipe, with the place in its text.
    Recipe(Box<psann_scripts::Diagnostics>),
    /// Processes that this one started failed or were stopped.
    Ranks(Exit),
    /// A process that this one started failed with this code, and said why.
    Reported(u8),
}

impl From<psann_core::Error> for Failure {
    fn from(error: psann_core::Error) -> Self {
        Self::Error(error)
    }
}

impl From<psann_scripts::Diagnostics> for Failure {
    fn from(diagnostics: psann_scripts::Diagnostics) -> Self {
        Self::Recipe(Box::new(diagnostics))
    }
}

impl Failure {
    /// 1 when the work failed, 2 when a recipe, an option or an argument is wrong, 130 after Ctrl-C; of several
    /// processes the code of the first that failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Error(error) => match error.fault() {
                Fault::Run => 1,
                Fault::Usage => 2,
                Fault::Interrupted => stop::INTERRUPTED,
            },
            Self::Recipe(_) => 2,
            Self::Ranks(exit) => exit.code,
            Self::Reported(code) => *code,
        }
    }
}

/// Prints a failure to standard error.
pub fn failure(failure: &Failure) {
    let text = match failure {
        Failure::Error(error) => error_text(error),
        Failure::Recipe(diagnostics) => diagnostics_text(diagnostics),
        // Ranks that were asked to stop have said so themselves.
        Failure::Ranks(exit) => exit.error.as_ref().map(error_text).unwrap_or_default(),
        Failure::Reported(_) => String::new(),
    };
    // Nobody is left to tell when standard error is gone.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// `error: …`, its hint on the next line.
pub fn error_text(error: &psann_core::Error) -> String {
    let word = if error.fault() == Fault::Interrupted { "stopped" } else { "error" };
    let mut text = format!("{word}: {error}\n");
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

/// The recipe's lines with the places marked.
pub fn diagnostics_text(diagnostics: &psann_scripts::Diagnostics) -> String {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    diagnostics.render(colour)
}

/// Prints a result to standard output. A closed pipe ends the output, not the program's work.
pub fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    drop(write!(out, "{text}{end}").and_then(|()| out.flush()));
}

/// Columns under their heads, two spaces apart: the first to the left, the others to the right.
pub fn table<const N: usize>(head: &[&str; N], rows: &[[String; N]]) -> String {
    let length = |text: &str| text.chars().count();
    let width =
        |column: usize| rows.iter().map(|row| length(&row[column])).chain([length(head[column])]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let cell = |index: usize| {
            let width = widths[index];
            if index == 0 { format!("{:<width$}", cells[index]) } else { format!("{:>width$}", cells[index]) }
        };
        let cells: [String; N] = std::array::from_fn(cell);
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(*head);
    for row in rows {
        text.push_str(&line(std::array::from_fn(|index| row[index].as_str())));
    }
    text
}

/// `12.3 s`, `4 m 05 s`, `2 h 03 m`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
    }
}

/// `950`, `12.3k`, `4.56M`, `3.71B`: three digits, rounded.
pub fn count(number: f64) -> String {
    for (limit, suffix) in [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")] {
        if number >= limit {
            let scaled = number / limit;
            let digits = match scaled {
                ..9.995 => 2,
                ..99.95 => 1,
                _ => 0,
            };
            return format!("{scaled:.digits$}{suffix}");
        }
    }
    format!("{number:.0}")
}

/// `39.3 MFLOP`, `161 GFLOP`.
pub fn flop(number: f64) -> String {
    let text = count(number);
    match text.strip_suffix(char::is_alphabetic) {
        Some(digits) => format!("{digits} {}FLOP", text[digits.len()..].replace('B', "G")),
        None => format!("{text} FLOP"),
    }
}

/// `512 B`, `1.5 MiB`.
pub fn bytes(number: f64) -> String {
    let mut scaled = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1024.0 {
            return if unit == "B" { format!("{scaled:.0} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!([seconds(1.25), seconds(245.0), seconds(7400.0)], ["1.2 s", "4 m 05 s", "2 h 03 m"]);
        assert_eq!(
            [count(950.0), count(12_340.0), count(3_707_919_390.0), count(456e6)],
            ["950", "12.3k", "3.71B", "456M"]
        );
        assert_eq!([flop(950.0), flop(161e9)], ["950 FLOP", "161 GFLOP"]);
        assert_eq!([bytes(512.0), bytes(1_572_864.0)], ["512 B", "1.5 MiB"]);
    }

    #[test]
    fn a_hint_stands_on_its_own_line() {
        let error = psann_core::Error::usage("no such thing").hint("try another");
        assert_eq!(error_text(&error), "error: no such thing\n  hint: try another\n");
    }
}
