//! Programs that write documents: a source in any language, for anything that is not a matter of nanoseconds.
//!
//! A manifest in TOML says what to run and which options there are ([`ProcessManifest`]). The program gets its options and
//! its place by environment variables and writes documents to its standard output, as JSON lines or as an Arrow IPC
//! stream. What it writes to standard error goes to psann's log, line by line.
//!
//! | variable | what it holds |
//! |---|---|
//! | `PSANN_OPTIONS` | the options, a JSON object; defaults are filled in, options without value are left out |
//! | `PSANN_PARTITION` | the partition to write, where the manifest says `partitions = true`; empty elsewhere |
//! | `PSANN_RESUME` | the place to go on from, where it says `resume = "token"`; empty at the start and elsewhere |
//! | `PSANN_LIST` | `1`: write one line `{"name": …, "bytes": …}` for each partition, and nothing else |
//! | `PSANN_IDENTITY` | `1`: write a text that changes when the content changes, and nothing else |
//!
//! The last two are set only for manifests that say `partitions = true` and `identity = true`.
//!
//! **Order.** A run that was stopped goes on exactly where it stood, so the program has to write the same documents in the
//! same order each time it is given the same options. With `resume = "count"` it is run from its start again, and what was
//! read before is passed over. With `resume = "token"` documents may carry a text `resume` that stands for the place
//! behind them; the program is given the last one that was read, and only what came behind it has to be the same. Batches
//! end at such documents, unless very many come without.
//!
//! **Content.** psann does not see what a program reads. A change of the manifest, of the files that it lists or of an
//! option makes stages run again; for anything else the program has to tell, by `identity`, or its author by `version`.
//!
//! **End.** The documents count when the program ends with status 0. It leads a process group of its own, which is killed
//! when nobody reads any more. When psann dies without a word, Linux kills the program; processes that it started, and
//! programs on other systems, end at their next write to the pipe that nobody reads.

mod arrow;
mod jsonl;
mod manifest;
mod options;
mod partitions;
mod position;
mod reader;
mod running;
mod source;
mod system;

pub use manifest::{Format, Process, ProcessManifest, Resume};
pub use options::{OptionType, ProcessOption};
pub use source::ProcessSource;
