//! A segment read again, without the documents that corpus filters dropped; those come along as records of their own.

use std::collections::BTreeMap;
use std::ops::Range;

use psann_core::Result;

use super::group::{Verdict, verdicts};
use super::judge::Dropped;
use super::report::{FilterReport, sample};
use super::rows::Rows;
use super::segment::{Record, Segment};
use crate::columns::{self, Columns};

/// Documents read at a time: about a megabyte of web pages.
const BATCH_ROWS: usize = 384;

/// A finished segment and how many corpus filters spoke about it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its files.
    pub segment: Segment,
    /// Its record.
    pub record: Record,
    /// Corpus filters of its pass.
    pub corpus_filters: usize,
}

/// Reads a stored segment from its start.
pub struct StoredRows {
    batches: Columns,
    verdicts: std::iter::Peekable<std::vec::IntoIter<Verdict>>,
    /// Row of the segment that comes next.
    row: u64,
    texts: bool,
    reports: BTreeMap<usize, FilterReport>,
    /// Rows that are wanted; of the others nothing is told.
    range: Range<u64>,
    in_range: Vec<bool>,
}

impl StoredRows {
    /// Opens the segment once its file is known to be sound: what an earlier process wrote is read through before; `texts` as in [`judge`](super::judge::judge).
    pub fn open(stored: &Stored, texts: bool) -> Result<Self> {
        Self::open_range(stored, texts, 0..u64::MAX)
    }

    /// Opens it for some rows only; see [`StoredRows::in_range`].
    pub fn open_range(stored: &Stored, texts: bool, range: Range<u64>) -> Result<Self> {
        if !stored.record.fresh {
            stored.segment.verify(&stored.record, &["rows.parquet", "places"])?;
        }
        Ok(Self {
            batches: columns::read(&stored.segment.file("rows.parquet"), None, BATCH_ROWS)?,
            verdicts: verdicts(&stored.segment, stored.corpus_filters)?.into_iter().peekable(),
            row: 0,
            texts,
            reports: BTreeMap::new(),
            range,
            in_range: Vec::new(),
        })
    }

    /// The next documents: those that are left, and those that are not. Either may be empty; `None` is the end.
    pub fn next_rows(&mut self) -> Result<Option<(Rows, Vec<Dropped>)>> {
        if self.row >= self.range.end {
            return Ok(None);
        }
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let rows = Rows::of(batch?)?;
        let mut keep = vec![true; rows.len()];
        let mut dropped = Vec::new();
        let end = self.row + rows.len() as u64;
        while let Some(verdict) = self.verdicts.next_if(|verdict| verdict.row < end) {
            let row = (verdict.row - self.row) as usize;
            keep[row] = false;
            if !self.range.contains(&verdict.row) {
                continue;
            }
            let (place, text) = (rows.place(row), rows.batch().text(row));
            let (id, url) = (rows.batch().optional("id", row), rows.batch().optional("url", row));
            let report = self.reports.entry(verdict.filter).or_default();
            let details = verdict.details;
            report
                .drop_one(&verdict.reason, text.len() as u64, place, || sample(place, id, url, text, details.clone()));
            dropped.push(Dropped {
                place,
                id: id.map(str::to_owned),
                url: url.map(str::to_owned),
                filter: verdict.filter,
                reason: verdict.reason,
                details,
                bytes: text.len() as u64,
                text: self.texts.then(|| text.to_owned()),
            });
        }
        let kept = (self.row..end).zip(&keep).filter(|(_, keep)| **keep);
        self.in_range = kept.map(|(row, _)| self.range.contains(&row)).collect();
        self.row = end;
        Ok(Some((rows.select(keep)?, dropped)))
    }

    /// For each of the documents that [`StoredRows::next_rows`] gave last, whether it is one of the wanted rows.
    pub fn in_range(&self) -> &[bool] {
        &self.in_range
    }

    /// What corpus filters dropped since this was asked before, by filter.
    pub fn take_reports(&mut self) -> Vec<(usize, FilterReport)> {
        std::mem::take(&mut self.reports).into_iter().collect()
    }
}
