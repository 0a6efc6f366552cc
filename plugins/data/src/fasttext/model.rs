//! A model: read once, asked from any number of threads.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use psann_core::{Error, Result};

use super::dictionary::{Cut, Dictionary, Kind};
use super::input::{self, Input, Unusable, damaged};
use super::matrix::Matrix;
use super::output::{Best, Output};
use super::subwords::{END_OF_LINE, extend_run, hash, signed};
use super::words::{Sums, Word, words};

const MARK: i32 = 793_712_314;
const SUPERVISED: i32 = 3;
/// Stands for "a label" where a word's number of rows is remembered.
const LABEL: u32 = u32::MAX;
/// Rows or characters beyond this are damage, not design; it bounds the work per word.
const LARGEST: usize = 1 << 16;

/// A supervised fastText model.
#[derive(Debug)]
pub struct Model {
    dictionary: Dictionary,
    weights: Matrix,
    output_weights: Matrix,
    output: Output,
    /// Working memory of predictors that are done. It holds the words they have seen, which the next one will meet.
    idle: Mutex<Vec<Scratch>>,
}

/// One label of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'m> {
    /// The label without its `__label__`.
    pub label: &'m str,
    /// Its probability as fastText says it, which may be a little above 1.
    pub probability: f32,
}

impl Model {
    /// Reads a `.bin` or `.ftz` file.
    ///
    /// # Errors
    /// The file cannot be read, is no supervised fastText model, or is damaged.
    pub fn load(path: &Path) -> Result<Self> {
        let fail = |why: Unusable| {
            let message = format!("cannot use the model `{}`", path.display());
            Error::new(message).because(why).hint("name a supervised fastText model, a `.bin` or `.ftz` file")
        };
        let unreadable = |e| fail(Unusable::Unreadable(path.display().to_string(), e));
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        Self::read(&mut BufReader::with_capacity(1 << 16, file), about.len()).map_err(fail)
    }

    /// Reads a model of `length` bytes.
    pub(super) fn read(reader: &mut dyn BufRead, length: u64) -> input::Result<Self> {
        let input = &mut Input::new(reader, length);
        let header = Header::read(input)?;
        let dictionary = Dictionary::read(input, header.cut)?;

        input.enter("its input matrix");
        let quantised = input.bool()?;
        if !quantised && dictionary.is_pruned() {
            return damaged("its dictionary is pruned but its matrix is not quantised");
        }
        let weights = if quantised { Matrix::read_codes(input)? } else { Matrix::read_plain(input)? };
        if weights.width() != header.width || weights.rows() < dictionary.rows() {
            return damaged(format!(
                "its input matrix is {} by {} where {} by {} is needed",
                weights.rows(),
                weights.width(),
                dictionary.rows(),
                header.width
            ));
        }

        input.enter("its output matrix");
        let output_quantised = input.bool()? && quantised;
        let output_weights = if output_quantised { Matrix::read_codes(input)? } else { Matrix::read_plain(input)? };
        let labels = dictionary.labels();
        if output_weights.width() != header.width || output_weights.rows() != labels.len() {
            return damaged(format!(
                "its output matrix is {} by {} where {} by {} is needed",
                output_weights.rows(),
                output_weights.width(),
                labels.len(),
                header.width
            ));
        }
        if input.left() > 0 {
            return Err(Unusable::Trailing(input.left()));
        }
        let output = match header.loss {
            1 => Output::tree(labels.iter().map(|label| label.count))?,
            2 | 4 => Output::logistic(),
            3 => Output::Softmax,
            other => return damaged(format!("its loss has the unknown number {other}")),
        };
        Ok(Self { dictionary, weights, output_weights, output, idle: Mutex::default() })
    }

    /// The labels it knows, without their `__label__`.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.dictionary.labels().iter().map(|label| label.name.as_str())
    }

    /// The `most` likely labels of a text, best first. The text is one line: line ends count as blanks.
    pub fn predict(&self, text: &str, most: usize) -> Vec<Prediction<'_>> {
        let mut predictor = self.predictor();
        predictor.predict(text, most).collect()
    }

    /// For many texts in a row: spares a lock for each.
    pub fn predictor(&self) -> Predictor<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Predictor { model: self, scratch: Some(idle.unwrap_or_else(|| Scratch::new(self.weights.width()))) }
    }
}

/// What the header says of use here.
struct Header {
    width: usize,
    loss: i32,
    cut: Cut,
}

impl Header {
    fn read(input: &mut Input) -> input::Result<Self> {
        if input.left() < 8 || input.i32()? != MARK {
            return Err(Unusable::Foreign);
        }
        let version = input.i32()?;
        if !(11..=12).contains(&version) {
            return Err(Unusable::Version(version));
        }
        let width = input.count32("columns")?;
        let [_window, _epochs, _least_count, _negatives] = [input.i32()?, input.i32()?, input.i32()?, input.i32()?];
        let run = input.count32("words in a run")?;
        let (loss, kind) = (input.i32()?, input.i32()?);
        let buckets = input.count32("buckets")? as u32;
        let shortest = input.count32("as the length of a part")?;
        let mut longest = input.count32("as the length of a part")?;
        let (_update_rate, _threshold) = (input.i32()?, input.f64()?);
        if kind != SUPERVISED {
            return Err(Unusable::Unsupervised);
        }
        if version == 11 {
            longest = 0; // classifiers of that version were trained without parts, whatever the header says
        }
        if width == 0 || width.max(run).max(longest) > LARGEST {
            return damaged(format!("{width} columns, runs of {run} words, parts of {longest} characters"));
        }
        if buckets == 0 && (longest > 0 || run > 1) {
            return damaged("it cuts words into parts but has no rows for them");
        }
        Ok(Self { width, loss, cut: Cut { buckets, shortest, longest, run } })
    }
}

/// Asks a model about one text after another.
#[derive(Debug)]
pub struct Predictor<'m> {
    model: &'m Model,
    /// Only gone while it is dropped.
    scratch: Option<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    sums: Sums,
    bracketed: Vec<u8>,
    hashes: Vec<u32>,
    hidden: Vec<f32>,
    best: Best,
    stack: Vec<(u32, f32)>,
    scores: Vec<f32>,
}

impl Scratch {
    fn new(width: usize) -> Self {
        Self {
            sums: Sums::new(width),
            bracketed: Vec::new(),
            hashes: Vec::new(),
            hidden: vec![0.0; width],
            best: Best::default(),
            stack: Vec::new(),
            scores: Vec::new(),
        }
    }
}

impl<'m> Predictor<'m> {
    /// As [`Model::predict`].
    pub fn predict(&mut self, text: &str, most: usize) -> impl Iterator<Item = Prediction<'m>> {
        let model = self.model;
        let found = self.scratch.as_mut().map(|scratch| scratch.predict(model, text, most)).unwrap_or_default();
        let labels = model.dictionary.labels();
        found.iter().map(|(score, label)| Prediction { label: &labels[*label as usize].name, probability: score.exp() })
    }
}

impl Drop for Predictor<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.model.idle.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        }
    }
}

impl Scratch {
    /// The best labels with the logarithms of their probabilities.
    fn predict(&mut self, model: &Model, text: &str, most: usize) -> &[(f32, u32)] {
        let text = text.as_bytes();
        self.hidden.fill(0.0);
        self.hashes.clear();
        let mut rows = 0;
        for word in words(text) {
            if &text[word.start..word.end] == END_OF_LINE {
                break; // written out in a text it ends the line for fastText too
            }
            rows += self.add_word(model, text, word);
        }
        rows += self.add_word(model, END_OF_LINE, Word { start: 0, end: END_OF_LINE.len() });
        rows += self.add_runs(model);
        self.best.found.clear();
        self.best.most = most;
        if rows > 0 && most > 0 {
            let scale = (1.0 / rows as f64) as f32;
            self.hidden.iter_mut().for_each(|value| *value *= scale);
            let labels = model.dictionary.labels().len();
            let (hidden, best) = (&self.hidden, &mut self.best);
            model.output.predict(&model.output_weights, labels, hidden, best, &mut self.stack, &mut self.scores);
        }
        &self.best.found
    }

    /// Adds the rows of a word to the hidden vector and says how many there were.
    fn add_word(&mut self, model: &Model, text: &[u8], word: Word) -> u64 {
        let letters = &text[word.start..word.end];
        let bracketed = &mut self.bracketed;
        let (sum, rows) = self.sums.of(text, word, |sum| {
            let mut rows = 0;
            let kind = model.dictionary.rows_of(letters, bracketed, |row| {
                rows += 1;
                model.weights.add_row(row, sum);
            });
            if kind == Kind::Label { LABEL } else { rows }
        });
        if rows == LABEL {
            return 0;
        }
        self.hidden.iter_mut().zip(sum).for_each(|(hidden, sum)| *hidden += sum);
        if model.dictionary.run() > 1 {
            self.hashes.push(hash(letters));
        }
        u64::from(rows)
    }

    /// The same for runs of words.
    fn add_runs(&mut self, model: &Model) -> u64 {
        let mut rows = 0;
        for (start, first) in self.hashes.iter().enumerate() {
            let mut run = signed(*first);
            for word in self.hashes[start + 1..].iter().take(model.dictionary.run() - 1) {
                run = extend_run(run, *word);
                if let Some(row) = model.dictionary.row_of_run(run) {
                    rows += 1;
                    model.weights.add_row(row, &mut self.hidden);
                }
            }
        }
        rows
    }
}
