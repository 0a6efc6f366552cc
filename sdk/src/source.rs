//! [`Source`]: where documents come from.

use serde::{Deserialize, Serialize};

use crate::{Batch, Host, Options, Result};

/// An independent piece of a source: a worker reads it without asking any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What a message calls it: a file, a table, a range.
    pub name: String,
    /// Its size in bytes, for progress and balance; 0 if that is not known.
    #[serde(default)]
    pub bytes: u64,
}

impl Partition {
    /// A piece of unknown size.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), bytes: 0 }
    }
}

/// Where documents come from. Cheap to make: inputs are opened in `partitions` and `open`. Called from several threads at
/// once.
pub trait Source: Sized + Send + Sync + 'static {
    /// Its options.
    type Options: Options;
    /// What reads a piece of it.
    type Reader: Reader;

    /// Its name within the plugin.
    const NAME: &'static str;

    /// Version of its behaviour; a change makes work that used it be done again.
    const VERSION: u32 = 1;

    /// The option that a recipe may give without its name.
    const PRIMARY: Option<&'static str> = None;

    /// Makes it from its options.
    ///
    /// # Errors
    /// Says which option is wrong.
    fn new(options: Self::Options, host: Host) -> Result<Self>;

    /// The independent pieces, in an order that never changes. By default there is one.
    ///
    /// # Errors
    /// Names what is missing.
    fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(vec![Partition::new(Self::NAME)])
    }

    /// Opens a piece, by its place, at its start or where a reader's [`Reader::position`] was.
    ///
    /// # Errors
    /// Names what cannot be opened.
    fn open(&self, partition: usize, resume: Option<&str>) -> Result<Self::Reader>;

    /// A text that changes when the content changes, such as sizes and dates of files; work is done again then.
    ///
    /// # Errors
    /// Names what is missing.
    fn identity(&self) -> Result<String>;
}

/// What reads a piece of a source.
pub trait Reader: Send + 'static {
    /// The next documents, at least one, or `None` at the end.
    ///
    /// # Errors
    /// Names the place of what cannot be read.
    fn next(&mut self) -> Result<Option<Batch>>;

    /// Where the reader stands: from here [`Source::open`] goes on right behind the last batch, in the same order. Training
    /// that was stopped goes on exactly so.
    fn position(&self) -> String;
}
