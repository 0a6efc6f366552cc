//! What the filters of a pass make of some documents.

use psann_core::filter::Keys;
use psann_core::{Error, Result};
use serde_json::Value;

use super::passes::{Filters, Named, Pass};
use super::report::{Amount, FilterReport, sample, scores_of};
use super::rows::{Place, Rows};

/// The reason for which a document is dropped of which a filter left no text.
const EMPTIED: &str = "nothing left of the text";

/// A document that was dropped, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// Where it stands.
    pub place: Place,
    /// The source's name for it.
    pub id: Option<String>,
    /// Its address.
    pub url: Option<String>,
    /// Index of the filter.
    pub filter: usize,
    /// The filter's word for it.
    pub reason: String,
    /// The numbers behind it, a JSON object.
    pub details: Value,
    /// Size of its text in bytes.
    pub bytes: u64,
    /// Its text as the filter saw it, where texts are recorded.
    pub text: Option<String>,
}

/// Documents after a pass.
#[derive(Debug)]
pub struct Judged {
    /// What reached the pass.
    pub read: Amount,
    /// What is left.
    pub rows: Rows,
    /// What is not.
    pub dropped: Vec<Dropped>,
    /// Per row filter of the pass what it did.
    pub reports: Vec<FilterReport>,
    /// Per corpus filter of the pass its keys, counted in rows of `rows`.
    pub keys: Vec<Keys>,
}

/// Applies the filters of a pass, each to what the ones before it left.
///
/// `texts` says whether the texts of dropped documents are kept for the record.
pub fn judge(filters: &Filters, pass: &Pass, rows: Rows, texts: bool) -> Result<Judged> {
    let read = Amount { documents: rows.len() as u64, bytes: rows.bytes() };
    let mut judged = Judged { read, rows, dropped: Vec::new(), reports: Vec::new(), keys: Vec::new() };
    for &index in &pass.rows {
        let named = &filters.all[index];
        let mut report = FilterReport::new(&named.name);
        if !judged.rows.is_empty() {
            judged.rows = apply(index, named, &judged.rows, texts, &mut report, &mut judged.dropped)
                .map_err(|e| e.within(format!("filter `{}`", named.name)))?;
        }
        judged.reports.push(report);
    }
    for &index in &pass.corpus {
        let named = &filters.all[index];
        let keys = match named.filter.corpus() {
            Some(corpus) if !judged.rows.is_empty() => {
                corpus.keys(judged.rows.batch()).map_err(|e| e.within(format!("filter `{}`", named.name)))?
            }
            _ => Keys::default(),
        };
        judged.keys.push(keys);
    }
    Ok(judged)
}

/// Whether the filter finds the column that it reads in these documents.
pub fn has_column(named: &Named, rows: &Rows) -> bool {
    named.filter.column().is_none_or(|column| (0..rows.len()).any(|row| rows.batch().optional(column, row).is_some()))
}

fn apply(
    index: usize,
    named: &Named,
    rows: &Rows,
    texts: bool,
    report: &mut FilterReport,
    dropped: &mut Vec<Dropped>,
) -> Result<Rows> {
    let batch = rows.batch();
    report.had_column = has_column(named, rows);
    report.seen.add(Amount { documents: rows.len() as u64, bytes: rows.bytes() });
    let verdicts = named.filter.apply(batch)?;
    if verdicts.dropped.len() != rows.len() {
        return Err(Error::new(format!("judged {} of {} documents", verdicts.dropped.len(), rows.len())));
    }
    report.note(&verdicts);
    let emptied =
        |row: usize| verdicts.rewritten.get(row).and_then(Option::as_ref).is_some_and(|text| text.trim().is_empty());
    let mut keep = vec![true; rows.len()];
    for (row, reason) in verdicts.dropped.iter().enumerate() {
        let reason = match reason {
            Some(reason) => named.filter.reasons().get(usize::from(*reason)).copied().unwrap_or("unnamed"),
            None if emptied(row) => EMPTIED,
            None => continue,
        };
        keep[row] = false;
        let (place, text) = (rows.place(row), batch.text(row));
        let (id, url) = (batch.optional("id", row), batch.optional("url", row));
        let details = scores_of(&verdicts, row);
        report.drop_one(reason, text.len() as u64, place, || sample(place, id, url, text, details.clone()));
        dropped.push(Dropped {
            place,
            id: id.map(str::to_owned),
            url: url.map(str::to_owned),
            filter: index,
            reason: reason.to_owned(),
            details,
            bytes: text.len() as u64,
            text: texts.then(|| text.to_owned()),
        });
    }
    let kept = rows.with_texts(&verdicts.rewritten)?;
    let kept = kept.select(keep)?;
    report.kept.add(Amount { documents: kept.len() as u64, bytes: kept.bytes() });
    Ok(kept)
}
