//! Why a text would be dropped: every filter asked about it, one by one.

use std::path::Path;

use psann_core::plan::FilterComponent;
use psann_core::{BatchBuilder, Document, Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::passes::Filters;
use super::report::{PrepareReport, scores_of};
use crate::documents::{Manifest, Split, read_rows};
use crate::files::cannot_read;

/// What one filter says of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Its name.
    pub filter: String,
    /// Why it would drop the text; `None` keeps it.
    pub dropped: Option<String>,
    /// The numbers behind it.
    pub scores: Value,
    /// Whether it would change the text.
    pub rewrites: bool,
    /// Whether the whole corpus has a say in the verdict, so that a text alone tells only part of it.
    pub corpus: bool,
}

/// Asks every filter about `document`, also behind one that would drop it. Each sees the text as those before it left it.
///
/// # Errors
/// When a filter fails on the text.
pub fn explain(filters: &Filters, document: &Document) -> Result<Vec<Explanation>> {
    let mut document = document.clone();
    let mut explanations = Vec::new();
    for named in &filters.all {
        let mut builder = BatchBuilder::default();
        builder.push(document.clone());
        let mut verdicts =
            named.filter.apply(&builder.finish()?).map_err(|e| e.within(format!("filter `{}`", named.name)))?;
        let reason = verdicts.dropped.first().copied().flatten();
        let word = |code: u16| named.filter.reasons().get(usize::from(code)).copied().unwrap_or("unnamed").to_owned();
        let text = verdicts.rewritten.first_mut().and_then(Option::take);
        explanations.push(Explanation {
            filter: named.name.clone(),
            dropped: reason.map(word),
            scores: scores_of(&verdicts, 0),
            rewrites: text.is_some(),
            corpus: named.filter.corpus().is_some(),
        });
        if let Some(text) = text {
            document.text = text;
        }
    }
    Ok(explanations)
}

/// What became of a document.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Fate {
    /// A filter dropped it.
    Dropped {
        /// Where it stood in the source.
        document: String,
        /// The source's name for it.
        id: Option<String>,
        /// Its address.
        url: Option<String>,
        /// The filter's name.
        filter: String,
        /// The filter's word for it.
        reason: String,
        /// The numbers behind it.
        details: Value,
    },
    /// It is in the corpus.
    Kept {
        /// Where it stood in the source.
        document: String,
        /// The source's name for it.
        id: Option<String>,
        /// Its address.
        url: Option<String>,
        /// `train` or `validation`.
        split: &'static str,
        /// What the filters say of its text as it was kept.
        filters: Vec<Explanation>,
    },
}

/// What became of document `name` (its place, such as `12-3405`, or the source's id) of the corpus in `folder`.
///
/// # Errors
/// When the corpus does not know it, which may be because it keeps no record of what was dropped.
pub fn fate(folder: &Path, name: &str) -> Result<Fate> {
    let report = read_report(folder)?;
    let named = |document: &str, id: Option<&str>| document == name || id == Some(name);
    for number in 0.. {
        let path = folder.join("dropped").join(format!("{number:05}.parquet"));
        if !path.exists() {
            break;
        }
        for dropped in super::dropped::read(&path)? {
            let dropped = dropped?;
            if named(&dropped.place.to_string(), dropped.id.as_deref()) {
                return Ok(Fate::Dropped {
                    document: dropped.place.to_string(),
                    id: dropped.id,
                    url: dropped.url,
                    filter: report.filters.get(dropped.filter).map_or_else(String::new, |filter| filter.name.clone()),
                    reason: dropped.reason,
                    details: dropped.details,
                });
            }
        }
    }
    for split in [Split::Train, Split::Validation] {
        for rows in read_rows(folder, split)? {
            let rows = rows?;
            for row in 0..rows.len() {
                let place = rows.place(row).to_string();
                if named(&place, rows.batch().optional("id", row)) {
                    let document = rows.batch().document(row);
                    return Ok(Fate::Kept {
                        document: place,
                        id: document.id.clone(),
                        url: document.url.clone(),
                        split: split.word(),
                        filters: explain(&filters_of(&report)?, &document)?,
                    });
                }
            }
        }
    }
    let hint = if folder.join("dropped").exists() {
        "a name is a place such as `12-3405`, or the id that the source gave"
    } else {
        "this corpus keeps no record of dropped documents: prepare it with `dropped: \"records\"`"
    };
    Err(Error::new(format!("`{}` knows no document `{name}`", folder.display())).hint(hint))
}

/// The filters that a corpus was made with.
///
/// # Errors
/// When one of them is not part of this program, or a file that it reads is gone.
pub fn filters_of(report: &PrepareReport) -> Result<Filters> {
    let components: Vec<FilterComponent> = report.made_of.filters.iter().cloned().map(FilterComponent).collect();
    Filters::new(&components)
}

/// The report of the corpus in `folder`.
///
/// # Errors
/// When there is none.
pub fn read_report(folder: &Path) -> Result<PrepareReport> {
    // A folder without a manifest is no corpus, whatever else it holds.
    Manifest::read(folder)?;
    let path = folder.join(super::REPORT);
    let bytes = std::fs::read(&path).map_err(|e| cannot_read(&path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::new(format!("`{}` is damaged", path.display())).because(e))
}
