//! The partitions that a program lists.

use std::collections::BTreeSet;

use psann_core::Result;
use psann_core::source::Partition;
use serde::Deserialize;

use super::jsonl::Lines;
use super::running::Output;

/// A line of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    #[serde(default)]
    bytes: u64,
}

/// Reads the list that a program writes.
///
/// # Errors
/// Names the line that is no entry. The caller says which program it is, and whether it failed.
pub(super) fn read(output: Output) -> Result<Vec<Partition>> {
    let (mut lines, mut partitions, mut names) = (Lines::new(output), Vec::new(), BTreeSet::new());
    while lines.advance()? {
        let hint = "with `PSANN_LIST=1` each line is an object `{\"name\": …, \"bytes\": …}`; `bytes` may be left out";
        let wrong = |message: &str| lines.error(message).hint(hint);
        let Listed { name, bytes } = serde_json::from_str(lines.line()?)
            // The parser sees one line and calls it line 1.
            .map_err(|e| {
                wrong(&format!("no partition: {}", e.to_string().replace(" at line 1 column ", " at column ")))
            })?;
        if name.is_empty() || name.contains('\0') {
            return Err(wrong("a partition needs a name, without zero bytes"));
        }
        if !names.insert(name.clone()) {
            return Err(wrong(&format!("partition `{name}` was listed before")));
        }
        partitions.push(Partition { index: partitions.len(), location: name, start: 0, end: None, bytes });
    }
    Ok(partitions)
}
