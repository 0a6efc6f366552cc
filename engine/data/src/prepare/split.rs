//! Which documents are held out for validation. The choice depends on a document's place in the source alone, so that it
//! is the same for any number of workers and stays when other documents are filtered away.

use std::path::Path;

use psann_core::{Document, Result};

use super::SplitReport;
use crate::documents::{Split, Writer, read_documents};

/// Whether document `row` of `partition` is held out.
pub fn held_out(seed: u64, partition: usize, row: u64, share: f64) -> bool {
    let mut hasher = blake3::Hasher::new();
    for part in [seed, partition as u64, row] {
        hasher.update(&part.to_le_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // 2^-64: the hash as a fraction of one.
    (u64::from_le_bytes(first) as f64) * 5.421_010_862_427_522e-20 < share
}

/// Chance left one split of a tiny corpus without documents: every n-th document is held out instead, at least one.
pub fn rebalance(directory: &Path, share: f64) -> Result<(SplitReport, SplitReport)> {
    let mut documents: Vec<Document> = Vec::new();
    for split in [Split::Train, Split::Validation] {
        for document in read_documents(directory, split)? {
            documents.push(document?);
        }
    }
    let every = ((1.0 / share.max(1e-9)).round() as usize).clamp(2, documents.len());
    let mut train = Writer::create(directory, Split::Train)?;
    let mut validation = Writer::create(directory, Split::Validation)?;
    for (index, document) in documents.into_iter().enumerate() {
        if index % every == every - 1 { validation.push(document)? } else { train.push(document)? }
    }
    let report = |writer: &Writer| SplitReport { documents: writer.documents, bytes: writer.bytes };
    let reports = (report(&train), report(&validation));
    train.publish()?;
    validation.publish()?;
    Ok(reports)
}
