//! The local date and time of `strftime_now`, as Python's `datetime.now().strftime` writes it.
//!
//! Callers give the time, so that the same conversation can be rendered twice. The directives are those of glibc in the
//! C locale, which Python uses on Linux. A local time without a zone writes nothing for `%z` and `%Z`.

use chrono::{Datelike, Local, NaiveDateTime, Timelike};
use psann_core::{Error, Result};

/// A local time, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock(NaiveDateTime);

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What one directive writes.
enum Field {
    /// A number, its least width, and what fills it.
    Number(i64, usize, char),
    Text(String),
}

impl Clock {
    /// The time here and now.
    pub fn now() -> Self {
        Self(Local::now().naive_local())
    }

    /// A time such as `2031-02-03T04:05:06`.
    ///
    /// # Errors
    /// When `text` is none.
    pub fn parse(text: &str) -> Result<Self> {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
        time.map(Self).map_err(|e| {
            Error::usage(format!("`{text}` is no date and time")).hint("write it as `2031-02-03T04:05:06`").because(e)
        })
    }

    /// The time in `format`. Directives that do not exist stay as they are.
    pub fn strftime(&self, format: &str) -> String {
        let mut text = String::with_capacity(format.len() * 2);
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            let directive = &rest[at + 1..];
            let flags = directive.len() - directive.trim_start_matches(['-', '_', '0', '^', '#']).len();
            let letter = directive[flags..].chars().next();
            if let Some(field) = letter.and_then(|letter| self.field(letter)) {
                text.push_str(&field.write(&directive[..flags]));
            } else {
                text.push('%');
                text.push_str(&directive[..flags]);
                text.extend(letter);
            }
            rest = &directive[flags + letter.map_or(0, char::len_utf8)..];
        }
        text + rest
    }

    fn field(&self, letter: char) -> Option<Field> {
        let time = &self.0;
        let (weekday, month) = (time.weekday().num_days_from_sunday(), time.month0());
        let (day, month) = (DAYS[weekday as usize], MONTHS[month as usize]);
        let week = time.iso_week();
        let (ordinal, weekday) = (i64::from(time.ordinal0()), i64::from(weekday));
        let number = |value: i64, width| Some(Field::Number(value, width, '0'));
        let text = |text: &str| Some(Field::Text(text.to_owned()));
        let (afternoon, hour) = time.hour12();
        match letter {
            'a' => text(&day[..3]),
            'A' => text(day),
            'b' | 'h' => text(&month[..3]),
            'B' => text(month),
            'c' => text(&self.strftime("%a %b %e %H:%M:%S %Y")),
            'C' => number(i64::from(time.year().div_euclid(100)), 2),
            'd' => number(time.day().into(), 2),
            'D' | 'x' => text(&self.strftime("%m/%d/%y")),
            'e' => Some(Field::Number(time.day().into(), 2, ' ')),
            'f' => number((time.nanosecond() / 1000).into(), 6),
            'F' => text(&self.strftime("%Y-%m-%d")),
            'g' => number(week.year().rem_euclid(100).into(), 2),
            'G' => number(week.year().into(), 1),
            'H' => number(time.hour().into(), 2),
            'I' => number(hour.into(), 2),
            'j' => number(ordinal + 1, 3),
            'k' => Some(Field::Number(time.hour().into(), 2, ' ')),
            'l' => Some(Field::Number(hour.into(), 2, ' ')),
            'm' => number(time.month().into(), 2),
            'M' => number(time.minute().into(), 2),
            'n' => text("\n"),
            'p' => text(if afternoon { "PM" } else { "AM" }),
            'P' => text(if afternoon { "pm" } else { "am" }),
            'r' => text(&self.strftime("%I:%M:%S %p")),
            'R' => text(&self.strftime("%H:%M")),
            'S' => number(time.second().into(), 2),
            't' => text("\t"),
            'T' | 'X' => text(&self.strftime("%H:%M:%S")),
            'u' => number((weekday + 6) % 7 + 1, 1),
            'U' => number((ordinal + 7 - weekday) / 7, 2),
            'V' => number(week.week().into(), 2),
            'w' => number(weekday, 1),
            'W' => number((ordinal + 7 - (weekday + 6) % 7) / 7, 2),
            'y' => number(time.year().rem_euclid(100).into(), 2),
            'Y' => number(time.year().into(), 1),
            'z' | 'Z' => text(""),
            '%' => text("%"),
            _ => None,
        }
    }
}

impl Field {
    fn write(self, flags: &str) -> String {
        let text = match self {
            Self::Number(value, width, fill) => {
                let fill = flags.chars().rev().find(|flag| "-_0".contains(*flag)).unwrap_or(fill);
                match fill {
                    '-' => value.to_string(),
                    '_' | ' ' => format!("{value:>width$}"),
                    _ => format!("{value:0>width$}"),
                }
            }
            Self::Text(text) => text,
        };
        if flags.contains('^') { text.to_uppercase() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_write_what_python_writes() {
        let check = |time: &str, format: &str, expected: &str| {
            assert_eq!(Clock::parse(time).unwrap().strftime(format), expected, "{time} {format}");
        };
        let time = "2031-02-03T04:05:06";
        check(time, "%A, %B %d, %Y %H:%M:%S", "Monday, February 03, 2031 04:05:06");
        check(time, "%j %y %m/%d %I %p %b %a %%", "034 31 02/03 04 AM Feb Mon %");
        check(time, "%-d.%-m. %e|%k|%l|%_H|%0e|%^a", "3.2.  3| 4| 4| 4|03|MON");
        check(
            time,
            "%c|%x|%X|%D|%F|%T|%R|%r",
            "Mon Feb  3 04:05:06 2031|02/03/31|04:05:06|02/03/31|2031-02-03|04:05:06|04:05|04:05:06 AM",
        );
        check(time, "%U %W %V %G %g %u %w %C", "05 05 06 2031 31 1 1 20");
        check("2027-01-03T00:30:00.25", "%U %W %V %G %u %w %I%P %f%z%Z", "01 00 53 2026 7 0 12am 250000");
        check("2028-12-31T23:59:59", "%j %U %W %V %G %p", "366 53 52 52 2028 PM");
        check(time, "é %é 5%", "é %é 5%");
    }

    #[test]
    fn a_time_is_read_or_refused() {
        insta::assert_snapshot!(Clock::parse("yesterday").unwrap_err().message(), @"`yesterday` is no date and time");
        assert!(Clock::now() >= Clock::parse("2020-01-01T00:00:00").unwrap());
    }
}
