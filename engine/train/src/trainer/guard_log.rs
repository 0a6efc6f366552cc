//! `guards.jsonl`: one line for each step that a guard did not let pass, with the rows of data it was made of. Unlike the
//! metrics it is never cut: what a run went back from stays on record.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use psann_core::tokens::{BatchStream, RowSources};
use psann_core::{Collective, Error, Result};
use serde_json::json;

use super::guard::Fired;
use crate::files;

/// Name of the file in a stage's folder.
pub const FILE: &str = "guards.jsonl";

/// What the rows of the last batch are made of, of all ranks.
pub fn rows(stream: &dyn BatchStream, ranks: &dyn Collective) -> Result<Vec<RowSources>> {
    let bytes = serde_json::to_vec(&stream.sources()).map_err(|e| Error::new("cannot tell of the data").because(e))?;
    let mut all = Vec::new();
    for bytes in ranks.share(&bytes)? {
        let of_rank: Vec<RowSources> =
            serde_json::from_slice(&bytes).map_err(|e| Error::new("a rank tells nonsense of its data").because(e))?;
        all.extend(of_rank);
    }
    all.sort_by_key(|row| row.row);
    Ok(all)
}

/// Appends a line, unless it is there: a resumed run may come by the same step again.
pub fn append(directory: &Path, step: u64, batch: u64, fired: &Fired, rows: &[RowSources]) -> Result<()> {
    let path = directory.join(FILE);
    let line = json!({ "step": step, "batch": batch, "guard": fired.json(), "rows": rows }).to_string();
    let known = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::new(format!("cannot read `{}`", path.display())).because(e)),
    };
    if known.lines().any(|known| known == line) {
        return Ok(());
    }
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data()));
    written.map_err(|e| files::cannot_write(&path, e))
}
