//! `mix`: several sources as one, each thinned so that it has its share of the text.
//!
//! Shares are reached by leaving documents out, never by repeating them: how often a text is seen is for training to say.
//! Which documents stay is a matter of a hash of their place, so that workers need not talk to each other, an interrupted
//! run leaves out the same ones, and a smaller share keeps a part of what a larger one keeps. The part of which there is
//! least for its share is kept whole; the others follow from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use psann_core::plan::Component;
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, BatchBuilder, DataSource, Error, Result, batch::Row, registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::files::human;
use super::input::is_stream;

psann_core::register!(Source, "mix", MixOptions, Mix::new, primary = "parts");

/// Several sources as one, each with its share of the text: `0.8 * web + 0.2 * books`.
///
/// Shares are counted in bytes on disk, so parts should be packed alike. Without weights everything is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixOptions {
    /// What is mixed, read in this order.
    pub parts: Vec<Part>,
    /// Another seed leaves out other documents.
    pub seed: u64,
}

/// One source of a mixture.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Part {
    /// Where its documents come from.
    #[schemars(extend("x-plugin" = "source"))]
    pub source: Option<Component>,
    /// How much of the mixture it is, beside the weights of the others. All parts have one, or none has.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weight: Option<f64>,
    /// The collection that its documents belong to if they name none; by default its file or folder.
    pub name: Option<String>,
}

/// Counted by [`BatchReader::skipped`] for each document that is left out so that shares hold.
pub const LEFT_OUT: &str = "left out by the mixture";

/// The source.
pub struct Mix {
    parts: Vec<Opened>,
    seed: u64,
    /// The pieces of all parts, and how much of each part is kept; looked up once.
    layout: OnceLock<Layout>,
}

struct Opened {
    source: Box<dyn DataSource>,
    weight: Option<f64>,
    name: Arc<str>,
}

#[derive(Debug)]
struct Layout {
    /// The part, and the piece as its source knows it.
    pieces: Vec<(usize, Partition)>,
    /// Per part the bytes there are.
    bytes: Vec<u64>,
    /// Per part the share of its documents that is kept.
    kept: Vec<f64>,
}

impl Mix {
    /// Makes the sources of all parts, which touch no file yet.
    ///
    /// # Errors
    /// When there is no part, one has no source, or only some have weights.
    pub fn new(options: MixOptions) -> Result<Self> {
        if options.parts.is_empty() {
            return Err(
                Error::usage("a mixture needs parts").hint("write `0.8 * source::NAME(…) + 0.2 * source::NAME(…)`")
            );
        }
        let parts: Vec<Opened> =
            options.parts.into_iter().enumerate().map(|(index, part)| part.open(index)).collect::<Result<_>>()?;
        if parts.iter().any(|part| part.weight.is_some()) && parts.iter().any(|part| part.weight.is_none()) {
            return Err(Error::usage("a part of the mixture has a weight and another has none")
                .hint("give every part a `weight`, or none to keep everything"));
        }
        Ok(Self { parts, seed: options.seed, layout: OnceLock::new() })
    }

    fn layout(&self) -> Result<&Layout> {
        if let Some(layout) = self.layout.get() {
            return Ok(layout);
        }
        let mut layout = Layout { pieces: Vec::new(), bytes: Vec::new(), kept: vec![1.0; self.parts.len()] };
        for (index, part) in self.parts.iter().enumerate() {
            let pieces = part.source.partitions()?;
            if part.weight.is_some() {
                part.check_sizes(&pieces)?;
            }
            layout.bytes.push(pieces.iter().map(|piece| piece.bytes).sum());
            layout.pieces.extend(pieces.into_iter().map(|piece| (index, piece)));
        }
        if let Some(weights) = self.parts.iter().map(|part| part.weight).collect::<Option<Vec<f64>>>() {
            layout.kept = kept(&weights, &layout.bytes);
        }
        Ok(self.layout.get_or_init(|| layout))
    }
}

impl Part {
    fn open(self, index: usize) -> Result<Opened> {
        let component =
            self.source.ok_or_else(|| Error::usage(format!("part {} of the mixture has no `source`", index + 1)))?;
        if let Some(weight) = self.weight.filter(|weight| !(weight.is_finite() && *weight > 0.0)) {
            return Err(Error::usage(format!("the weight of part {} must be above 0, found {weight}", index + 1))
                .hint("leave out a part that is not wanted"));
        }
        let name = self.name.unwrap_or_else(|| name_of(&component)).into();
        let source = registry::source(&component.name, &component.options)?;
        Ok(Opened { source, weight: self.weight, name })
    }
}

/// The share of each part that is kept, so that parts stand in the proportion of their weights and none could give more.
fn kept(weights: &[f64], bytes: &[u64]) -> Vec<f64> {
    // How much each part has, for one unit of weight; the poorest sets the measure.
    let supply: Vec<f64> = weights.iter().zip(bytes).map(|(weight, bytes)| *bytes as f64 / weight).collect();
    let least = supply.iter().copied().fold(f64::INFINITY, f64::min);
    supply.into_iter().map(|supply| least / supply).collect()
}

impl Opened {
    /// Shares of what has no size, or is nothing, cannot be had.
    fn check_sizes(&self, pieces: &[Partition]) -> Result<()> {
        // One file among many may be empty, or missing where that is allowed.
        let nothing = pieces.iter().all(|piece| piece.bytes == 0);
        let unknown = pieces.iter().find(|piece| {
            let location = Path::new(&piece.location);
            piece.bytes == 0 && (nothing && !location.is_file() || is_stream(&piece.location))
        });
        if let Some(piece) = unknown {
            let message = format!("the size of {} is unknown, and without it there are no shares", piece.location);
            return Err(Error::usage(message).hint("write it to a file first, or mix without weights"));
        }
        if nothing {
            return Err(Error::new(format!("part `{}` of the mixture is empty", self.name))
                .hint("leave it out: no share can be had from it"));
        }
        Ok(())
    }
}

/// `web` for `corpora/web.jsonl.zst`, `shards` for `shards/*.jsonl`, the plugin's name for what has no path.
fn name_of(component: &Component) -> String {
    let path = ["path", "manifest"].iter().find_map(|key| {
        let value = component.options.get(key)?;
        value.as_str().or_else(|| value.get(0)?.as_str())
    });
    let is_name = |name: &&str| !name.is_empty() && *name != "-" && !name.contains(['*', '?', '[']);
    let of_path = path.and_then(|path| {
        let parts = Path::new(path).components().rev().filter_map(|part| part.as_os_str().to_str());
        parts.map(|part| part.split('.').find(|word| !word.is_empty()).unwrap_or_default()).find(is_name)
    });
    of_path.unwrap_or(&component.name).to_owned()
}

impl DataSource for Mix {
    fn partitions(&self) -> Result<Vec<Partition>> {
        let pieces = self.layout()?.pieces.iter().enumerate();
        Ok(pieces.map(|(index, (_, piece))| Partition { index, ..piece.clone() }).collect())
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let layout = self.layout()?;
        let changed = || Error::new(format!("`{}` is not a piece of this mixture", partition.location));
        let (part, piece) = layout.pieces.get(partition.index).ok_or_else(changed)?;
        if piece.location != partition.location {
            return Err(changed());
        }
        let (rows, inner) = match resume {
            Some(token) => {
                let (rows, inner) = read_token(token)?;
                (rows, Some(inner))
            }
            None => (0, None),
        };
        let Opened { source, name, .. } = &self.parts[*part];
        let choice = Choice::new(self.seed, *part, piece.index, layout.kept[*part]);
        Ok(Box::new(Reader {
            inner: source.open(piece, inner.as_ref())?,
            choice,
            name: Arc::clone(name),
            rows,
            left_out: 0,
        }))
    }

    fn identity(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            let line = format!("{:?}\n{:?}\n{}\n", part.name, part.weight, part.source.identity()?);
            hasher.update(line.as_bytes());
        }
        hasher.update(&self.seed.to_le_bytes());
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn notes(&self) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for part in &self.parts {
            notes.extend(part.source.notes()?);
        }
        let layout = self.layout()?;
        for ((part, bytes), kept) in self.parts.iter().zip(&layout.bytes).zip(&layout.kept) {
            if *kept < 1.0 {
                let (name, share) = (&part.name, kept * 100.0);
                notes.push(format!("the mixture keeps {share:.2}% of the {} of `{name}`", human(*bytes)));
            }
        }
        Ok(notes)
    }
}

/// Rows of the piece so far, and the token of the part's own reader.
fn read_token(token: &ResumeToken) -> Result<(u64, ResumeToken)> {
    let read = token.0.split_once(':').and_then(|(rows, inner)| Some((rows.parse().ok()?, inner)));
    let (rows, inner) = read.ok_or_else(|| Error::new(format!("`{}` is no place in a mixture", token.0)))?;
    Ok((rows, ResumeToken(inner.to_owned())))
}

/// Which rows of a piece stay.
#[derive(Debug, Clone, Copy)]
struct Choice {
    seed: u64,
    /// Rows whose hash is below it stay; `None` keeps all.
    below: Option<u64>,
}

impl Choice {
    fn new(seed: u64, part: usize, piece: usize, kept: f64) -> Self {
        let place = [(part as u64).to_le_bytes(), (piece as u64).to_le_bytes()].concat();
        let below = (kept < 1.0).then_some((kept * 2_f64.powi(64)) as u64);
        Self { seed: xxh3_64_with_seed(&place, seed), below }
    }

    fn keeps(self, row: u64) -> bool {
        self.below.is_none_or(|below| xxh3_64_with_seed(&row.to_le_bytes(), self.seed) < below)
    }
}

struct Reader {
    inner: Box<dyn BatchReader>,
    choice: Choice,
    name: Arc<str>,
    /// Documents that the part's reader returned since the start of the piece.
    rows: u64,
    left_out: u64,
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        while let Some(batch) = self.inner.next_batch()? {
            let first = self.rows;
            self.rows += batch.len() as u64;
            let kept: Vec<usize> = (0..batch.len()).filter(|row| self.choice.keeps(first + *row as u64)).collect();
            self.left_out += (batch.len() - kept.len()) as u64;
            if kept.len() == batch.len() {
                return named(batch, &self.name).map(Some);
            }
            if !kept.is_empty() {
                return thinned(&batch, &kept, &self.name).map(Some);
            }
        }
        Ok(None)
    }

    fn position(&self) -> ResumeToken {
        ResumeToken(format!("{}:{}", self.rows, self.inner.position().0))
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        let mut skipped = self.inner.skipped();
        if self.left_out > 0 {
            // A part may be a mixture itself.
            *skipped.entry(LEFT_OUT.to_owned()).or_default() += self.left_out;
        }
        skipped
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.warnings()
    }
}

/// A copy of some rows.
fn thinned(batch: &Batch, rows: &[usize], name: &str) -> Result<Batch> {
    let mut builder = BatchBuilder::default();
    for &row in rows {
        builder.push_row(Row {
            text: batch.text(row),
            id: batch.optional("id", row),
            url: batch.optional("url", row),
            source: Some(batch.optional("source", row).unwrap_or(name)),
            meta: batch.optional("meta", row),
        });
    }
    builder.finish()
}

/// The batch with a source for every document; texts are not copied.
fn named(batch: Batch, name: &str) -> Result<Batch> {
    let records = batch.records();
    let old = records.schema().index_of("source").ok();
    if old.is_some_and(|index| records.column(index).null_count() == 0) {
        return Ok(batch);
    }
    let sources = (0..batch.len()).map(|row| Some(batch.optional("source", row).unwrap_or(name)));
    let sources: ArrayRef = Arc::new(sources.collect::<StringArray>());
    let mut fields: Vec<Arc<Field>> = records.schema().fields().iter().cloned().collect();
    let mut columns = records.columns().to_vec();
    if let Some(index) = old {
        columns[index] = sources;
    } else {
        fields.push(Arc::new(Field::new("source", DataType::Utf8, true)));
        columns.push(sources);
    }
    let records = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::new("cannot add a column to a batch").because(e))?;
    Batch::try_new(records)
}

#[cfg(test)]
mod tests {
    use psann_core::registry::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_poorest_part_is_kept_whole_and_the_others_follow() {
        assert_eq!(kept(&[0.5, 0.5], &[100, 400]), [1.0, 0.25]);
        assert_eq!(kept(&[8.0, 2.0], &[1000, 1000]), [1.0, 0.25]);
        assert_eq!(kept(&[3.0], &[7]), [1.0]);
    }

    #[test]
    fn a_part_is_called_after_its_file_or_folder() {
        for (options, name) in [
            (json!({ "path": "corpora/web.jsonl.zst" }), "web"),
            (json!({ "path": "corpora/common-crawl/*.jsonl.zst" }), "common-crawl"),
            (json!({ "path": ["books/a.txt", "b.txt"] }), "a"),
            (json!({ "manifest": "lists/news.txt" }), "news"),
            (json!({ "path": "*.txt" }), "text"),
            (json!({ "path": "-" }), "text"),
            (json!({ "path": "../../*" }), "text"),
            (json!({ "command": ["cat"] }), "text"),
        ] {
            let component = Component { options: options.clone(), ..Component::new(Kind::Source, "text") };
            assert_eq!(name_of(&component), name, "{options}");
        }
    }

    #[test]
    fn a_smaller_share_keeps_a_part_of_what_a_larger_one_keeps() {
        let rows = |kept| (0..1000).filter(move |row| Choice::new(3, 1, 2, kept).keeps(*row)).collect::<Vec<u64>>();
        let (less, more) = (rows(0.2), rows(0.5));
        assert!(less.iter().all(|row| more.contains(row)));
        assert!((150..250).contains(&less.len()) && (440..560).contains(&more.len()), "{} {}", less.len(), more.len());
        assert_eq!(rows(1.0).len(), 1000);
    }
}
