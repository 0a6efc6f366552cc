//! [`Report`]: what each rank tells the others of its part of a save.

use std::collections::BTreeMap;

use psann_core::collective::Collective;
use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::record::Record;

/// The files that a rank wrote, by path within the checkpoint, or what it failed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// All its files are on the disk.
    Written(BTreeMap<String, Record>),
    /// They are not.
    Failed(String),
}

impl Report {
    /// Of the outcome of one rank.
    pub fn of(outcome: Result<BTreeMap<String, Record>, &Error>) -> Self {
        match outcome {
            Ok(files) => Self::Written(files),
            Err(error) => Self::Failed(error.to_string()),
        }
    }

    fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new("cannot write a report").because(e))
    }
}

/// Exchanges reports over `ranks`: those of all, by rank.
pub fn share(report: &Report, ranks: &dyn Collective) -> Result<Vec<Report>> {
    let read = |(rank, bytes): (usize, &Vec<u8>)| {
        serde_json::from_slice(bytes)
            .map_err(|e| Error::new(format!("cannot read the report of rank {rank}")).because(e))
    };
    ranks.share(&report.text()?)?.iter().enumerate().map(read).collect()
}

/// The files of all ranks.
///
/// # Errors
/// What the first rank that failed failed with.
pub fn files_of(reports: Vec<Report>) -> Result<BTreeMap<String, Record>> {
    let mut files = BTreeMap::new();
    for (rank, report) in reports.into_iter().enumerate() {
        match report {
            Report::Written(of_rank) => files.extend(of_rank),
            Report::Failed(error) => return Err(Error::new(format!("rank {rank}: {error}"))),
        }
    }
    Ok(files)
}
