//! Batches of documents out of what a program writes, whichever format that is.

use std::sync::Arc;

use psann_core::source::{BatchReader, ResumeToken};
use psann_core::{Batch, BatchBuilder, Error, Result};
use psann_plugins_data::sources::limits::{BATCH_BYTES, BATCH_DOCUMENTS};

use super::arrow::ArrowRows;
use super::jsonl::JsonLines;
use super::manifest::{Format, Resume};
use super::position::Position;
use super::running::{Output, Running};

/// What is read at once: as much as a pipe holds on Linux.
pub(super) const PIPE_BYTES: usize = 64 << 10;

/// How many times its size a batch may grow to end at a place that the program named.
const STRETCH: usize = 16;

/// Longer places are refused: one variable of the environment holds 128 KiB on Linux.
const LONGEST_TOKEN: usize = 64 << 10;

/// The way out for whoever wrote another.
pub(super) const TOKEN_HINT: &str =
    "`resume` is a text for the place behind the document; leave it out (null in Arrow) where there is none";

/// What a program writes, document by document. Errors do not say which program it is.
pub(super) trait Documents: Send {
    /// Passes over so many documents; returns their number, which is less where they end.
    fn pass(&mut self, count: u64) -> Result<u64>;

    /// Adds the next document to `batch`.
    fn next(&mut self, batch: &mut BatchBuilder) -> Result<Step>;
}

/// What came next.
pub(super) enum Step {
    /// A document, and the place behind it if the program named it.
    Document(Option<String>),
    /// The end of the output.
    End,
}

/// Checks that a place can be given back to the program.
pub(super) fn check_token(token: &str) -> Result<(), String> {
    if token.is_empty() {
        return Err("`resume` is empty, which stands for the start".into());
    }
    if token.len() > LONGEST_TOKEN {
        return Err(format!("`resume` has {} bytes, of which a variable holds {LONGEST_TOKEN}", token.len()));
    }
    if token.contains('\0') {
        return Err("`resume` holds a zero byte, which no variable can".into());
    }
    Ok(())
}

/// Reads what a program writes.
pub(super) struct Reader {
    /// `None` behind the end.
    documents: Option<Box<dyn Documents>>,
    running: Arc<Running>,
    resume: Resume,
    position: Position,
}

impl Reader {
    /// Reads `output` of a program that was started at the place that `position` names, and passes over the documents
    /// behind that.
    pub fn open(
        output: Output,
        running: Arc<Running>,
        format: Format,
        resume: Resume,
        position: Position,
    ) -> Result<Self> {
        let open = || -> Result<Box<dyn Documents>> {
            let mut documents: Box<dyn Documents> = match format {
                Format::Jsonl => Box::new(JsonLines::new(output, resume)),
                Format::Arrow => Box::new(ArrowRows::open(output, resume)?),
            };
            let passed = documents.pass(position.documents)?;
            if passed < position.documents {
                return Err(Error::new(format!(
                    "it wrote only {passed} of the {} documents that were read before",
                    position.documents
                ))
                .hint("it has to write the same documents each time; start over with `--fresh`"));
            }
            Ok(documents)
        };
        let documents = Some(open().map_err(|error| running.explain(error))?);
        Ok(Self { documents, running, resume, position })
    }

    /// Whether the batch should end here.
    fn is_full(&self, batch: &BatchBuilder) -> bool {
        let reaches = |times: usize| batch.len() >= times * BATCH_DOCUMENTS || batch.bytes() >= times * BATCH_BYTES;
        match self.resume {
            Resume::Count => reaches(1),
            Resume::Token => reaches(1) && (self.position.documents == 0 || reaches(STRETCH)),
        }
    }

    fn fill(&mut self, batch: &mut BatchBuilder) -> Result<()> {
        while !self.is_full(batch)
            && let Some(documents) = &mut self.documents
        {
            match documents.next(batch).map_err(|error| self.running.explain(error))? {
                Step::Document(token) => self.position.advance(token),
                Step::End => {
                    self.documents = None;
                    self.running.finish()?;
                }
            }
        }
        Ok(())
    }
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        self.fill(&mut batch).inspect_err(|_| self.documents = None)?;
        if batch.is_empty() { Ok(None) } else { batch.finish().map(Some) }
    }

    fn position(&self) -> ResumeToken {
        self.position.token(self.resume)
    }
}
