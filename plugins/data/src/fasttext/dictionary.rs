//! Words, labels, and the rows of the input matrix that a word has.

use super::input::{Input, Result, damaged};
use super::subwords::{END_OF_LINE, LABEL, hash, parts};

/// Row numbers are stored in 32 bits, with this as "none".
const NONE: u32 = u32::MAX;

/// How words are cut, as the file's header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Rows for hashed parts and runs.
    pub(super) buckets: u32,
    /// Fewest characters of a part.
    pub(super) shortest: usize,
    /// Most characters of a part; 0 when words are not cut.
    pub(super) longest: usize,
    /// Most words of a run; runs of one are the words themselves.
    pub(super) run: usize,
}

/// The dictionary of a model.
#[derive(Debug)]
pub(super) struct Dictionary {
    cut: Cut,
    /// All words, one after another, and then all labels.
    letters: Vec<u8>,
    /// Where each ends in `letters`.
    ends: Vec<usize>,
    /// Numbers of words and labels by their hash: open addressing, [`NONE`] where free, at most half full.
    slots: Vec<u32>,
    words: usize,
    labels: Vec<Label>,
    buckets: Buckets,
}

/// A label and how many training lines had it.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) count: i64,
}

/// What became of the rows of hashed parts when the model was pruned.
#[derive(Debug)]
enum Buckets {
    All,
    Some(Kept),
    Gone,
}

/// The rows that pruning kept.
#[derive(Debug)]
struct Kept {
    /// One bit per bucket, folded to sixteen per kept row: most parts of a word are gone, and this says so from a table
    /// that stays in the cache.
    maybe: Vec<u64>,
    /// (bucket, row) by bucket: open addressing, free where the row is [`NONE`], at most half full.
    slots: Vec<(u32, u32)>,
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// Labels in a text are passed over.
    Label,
}

impl Dictionary {
    pub(super) fn read(input: &mut Input, cut: Cut) -> Result<Self> {
        input.enter("its dictionary");
        let size = input.count32("words")?;
        let words = input.count32("words")?;
        let labels = input.count32("labels")?;
        let _tokens = input.i64()?;
        let pruned = input.i64()?;
        if words.checked_add(labels) != Some(size) {
            return damaged(format!("{words} words and {labels} labels are not {size} entries"));
        }
        if labels == 0 {
            return damaged("it has no labels");
        }
        input.expect(size as u64, 10)?;
        let mut dictionary = Self {
            cut,
            letters: Vec::new(),
            ends: Vec::with_capacity(size),
            slots: vec![NONE; (size * 2).next_power_of_two()],
            words,
            labels: Vec::with_capacity(labels),
            buckets: Buckets::All,
        };
        for index in 0..size {
            let start = dictionary.letters.len();
            input.zero_ended(&mut dictionary.letters)?;
            let count = input.i64()?;
            let is_label = input.i8()? == 1;
            if is_label != (index >= words) {
                return damaged("labels stand among its words");
            }
            if is_label {
                let name = &dictionary.letters[start..];
                let name = String::from_utf8_lossy(name.strip_prefix(LABEL).unwrap_or(name)).into_owned();
                dictionary.labels.push(Label { name, count });
            }
            dictionary.ends.push(dictionary.letters.len());
            dictionary.insert(index);
        }
        dictionary.buckets = read_buckets(input, pruned)?;
        Ok(dictionary)
    }

    pub(super) fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Most words of a run.
    pub(super) fn run(&self) -> usize {
        self.cut.run
    }

    /// Rows the input matrix must have, so that no word reaches beyond it.
    pub(super) fn rows(&self) -> usize {
        let hashed = match &self.buckets {
            _ if self.cut.longest == 0 && self.cut.run <= 1 => 0,
            Buckets::All => self.cut.buckets as usize,
            Buckets::Some(kept) => kept.rows(),
            Buckets::Gone => 0,
        };
        self.words + hashed
    }

    /// Whether rows of parts were left out.
    pub(super) fn is_pruned(&self) -> bool {
        !matches!(self.buckets, Buckets::All)
    }

    /// Hands the rows of `word` to `each`, in fastText's order.
    pub(super) fn rows_of(&self, word: &[u8], bracketed: &mut Vec<u8>, mut each: impl FnMut(usize)) -> Kind {
        match self.find(word) {
            Some(index) if index >= self.words => return Kind::Label,
            Some(index) => each(index),
            None if word.starts_with(LABEL) => return Kind::Label,
            None => {}
        }
        if self.cut.longest > 0 && word != END_OF_LINE {
            parts(word, self.cut.shortest, self.cut.longest, bracketed, |hash| {
                if let Some(row) = self.row_of_bucket(hash % self.cut.buckets) {
                    each(row);
                }
            });
        }
        Kind::Word
    }

    /// The row of a run of words.
    pub(super) fn row_of_run(&self, run: u64) -> Option<usize> {
        self.row_of_bucket((run % u64::from(self.cut.buckets)) as u32)
    }

    fn row_of_bucket(&self, bucket: u32) -> Option<usize> {
        let row = match &self.buckets {
            Buckets::All => bucket,
            Buckets::Gone => return None,
            Buckets::Some(kept) => kept.row(bucket)?,
        };
        Some(self.words + row as usize)
    }

    fn find(&self, word: &[u8]) -> Option<usize> {
        let index = self.slots[self.slot(word)];
        (index != NONE).then_some(index as usize)
    }

    fn insert(&mut self, index: usize) {
        let slot = self.slot(self.word(index));
        self.slots[slot] = index as u32;
    }

    fn word(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.letters[start..self.ends[index]]
    }

    /// The slot that holds `word`, or the free one where it would stand.
    fn slot(&self, word: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(word) as usize & mask;
        while self.slots[slot] != NONE && self.word(self.slots[slot] as usize) != word {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

fn read_buckets(input: &mut Input, pruned: i64) -> Result<Buckets> {
    let Ok(pruned) = usize::try_from(pruned) else { return Ok(Buckets::All) };
    if pruned == 0 {
        return Ok(Buckets::Gone);
    }
    input.expect(pruned as u64, 8)?;
    let places = (pruned * 2).next_power_of_two();
    let mut kept = Kept { maybe: vec![0; places.div_ceil(8)], slots: vec![(0, NONE); places] };
    for _ in 0..pruned {
        let (bucket, row) = (input.i32()?, input.count32("as a row")?);
        kept.insert(bucket as u32, row as u32);
    }
    Ok(Buckets::Some(kept))
}

impl Kept {
    fn insert(&mut self, bucket: u32, row: u32) {
        let (word, bit) = self.bit(bucket);
        self.maybe[word] |= bit;
        let slot = self.slot(bucket);
        self.slots[slot] = (bucket, row);
    }

    fn row(&self, bucket: u32) -> Option<u32> {
        let (word, bit) = self.bit(bucket);
        if self.maybe[word] & bit == 0 {
            return None;
        }
        let row = self.slots[self.slot(bucket)].1;
        (row != NONE).then_some(row)
    }

    /// One more than the largest row.
    fn rows(&self) -> usize {
        self.slots.iter().filter(|slot| slot.1 != NONE).map(|slot| slot.1 as usize + 1).max().unwrap_or(0)
    }

    /// The slot that holds `bucket`, or the free one where it would stand. Buckets are hashes already: their low bits
    /// are as good as any.
    fn slot(&self, bucket: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = bucket as usize & mask;
        while self.slots[slot].1 != NONE && self.slots[slot].0 != bucket {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn bit(&self, bucket: u32) -> (usize, u64) {
        ((bucket >> 6) as usize & (self.maybe.len() - 1), 1 << (bucket & 63))
    }
}
