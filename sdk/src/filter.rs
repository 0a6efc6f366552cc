//! [`Filter`]: what is kept of the documents, and why.

use crate::{Doc, Documents, Host, Options, Result};

/// A rule about documents. It annotates and never drops: the host drops, and counts for which reason.
///
/// The verdict on a document depends on that document alone. Called from several threads at once.
pub trait Filter: Sized + Send + Sync + 'static {
    /// Its options.
    type Options: Options;

    /// Its name within the plugin.
    const NAME: &'static str;

    /// Version of its behaviour; a change makes work that used it be done again.
    const VERSION: u32 = 1;

    /// The option that a recipe may give without its name.
    const PRIMARY: Option<&'static str> = None;

    /// The reasons that it drops for, at least one; reports show them.
    const REASONS: &'static [&'static str];

    /// Names of the numbers behind its verdicts; reports show how they are distributed.
    const SCORES: &'static [&'static str] = &[];

    /// The columns that it reads: `text`, `id`, `url`, `source`, `meta`.
    const COLUMNS: &'static [&'static str] = &["text"];

    /// Whether it gives documents new texts.
    const REWRITES: bool = false;

    /// Makes it from its options.
    ///
    /// # Errors
    /// Says which option is wrong, or which file is missing.
    fn new(options: Self::Options, host: Host) -> Result<Self>;

    /// What it says of one document.
    fn judge(&self, doc: Doc<'_>) -> Verdict;

    /// What it says of a batch, one verdict for each document in order. For filters that gain from seeing several at once,
    /// or can fail.
    ///
    /// # Errors
    /// When the work cannot be done; no document is dropped then, and the run ends.
    fn judge_all(&self, documents: &Documents<'_>) -> Result<Vec<Verdict>> {
        Ok(documents.docs().map(|doc| self.judge(doc)).collect())
    }

    /// A text that changes when the files that it reads change.
    ///
    /// # Errors
    /// Names a file that is missing.
    fn identity(&self) -> Result<String> {
        Ok(String::new())
    }
}

/// Most scores of a filter. A verdict holds them in place: one for each document is made, and thrown away.
pub const MOST_SCORES: usize = 4;

/// What a filter says of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub(crate) dropped: Option<u16>,
    pub(crate) scores: [f64; MOST_SCORES],
    pub(crate) text: Option<String>,
}

impl Verdict {
    /// Keeps it.
    pub const fn keep() -> Self {
        Self { dropped: None, scores: [f64::NAN; MOST_SCORES], text: None }
    }

    /// Drops it for a reason, by its place in [`Filter::REASONS`].
    pub fn drop(reason: u16) -> Self {
        Self { dropped: Some(reason), ..Self::keep() }
    }

    /// Keeps it if `score` is at least `least`, drops it for the first reason otherwise. The score is the first one.
    pub fn at_least(score: f64, least: f64) -> Self {
        let verdict = if score >= least { Self::keep() } else { Self::drop(0) };
        verdict.score(0, score)
    }

    /// Notes a score, by its place in [`Filter::SCORES`].
    ///
    /// # Panics
    /// When there is no such place.
    #[must_use]
    pub fn score(mut self, place: usize, value: f64) -> Self {
        self.scores[place] = value;
        self
    }

    /// Gives the document a new text.
    #[must_use]
    pub fn rewrite(mut self, text: String) -> Self {
        self.text = Some(text);
        self
    }

    /// Whether the document stays.
    pub fn is_kept(&self) -> bool {
        self.dropped.is_none()
    }

    /// The reason for which it is dropped, by its place.
    pub fn reason(&self) -> Option<u16> {
        self.dropped
    }

    /// A score, by its place; NaN if it was not noted.
    ///
    /// # Panics
    /// When there is no such place.
    pub fn score_at(&self, place: usize) -> f64 {
        self.scores[place]
    }

    /// The new text, if it was given one.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The same, to keep.
    pub fn into_text(self) -> Option<String> {
        self.text
    }
}
