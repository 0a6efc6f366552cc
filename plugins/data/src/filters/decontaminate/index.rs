//! Which 8-grams of words occur in the items, and where.
//!
//! One probe per word of the corpus decides the speed, and nearly every probe is a miss. So the first question goes to a
//! Bloom filter with two bits in one 64-bit word per n-gram, which stays in the cache (64 KiB for small sets, 8 MiB for
//! all five public ones); what passes goes to the sorted keys, found through a directory by their high bits.
//!
//! An n-gram is the polynomial of its words' hashes modulo 2^64. The words' hashes are as good as random, so two n-grams
//! collide as rarely as two random numbers, and the next one costs two multiplications.

use super::items::Item;

/// Words of an n-gram.
pub const GRAM: usize = 8;

/// Odd, and neither its neighbours nor those of its powers are divisible by a high power of two (permuted words differ).
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits of the filter per n-gram, before rounding up: about one miss in a hundred passes.
const BITS_PER_GRAM: usize = 16;
/// The smallest filter, in words of 64 bits: 64 KiB.
const LEAST_FILTER: usize = 1 << 13;
/// The largest: 16 MiB.
const MOST_FILTER: usize = 1 << 21;

/// A word sequence to look for, a part of an item.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// The item.
    pub item: u32,
    /// Which of its parts.
    pub part: u32,
}

/// The n-grams of all items.
#[derive(Debug)]
pub struct Index {
    filter: Filter,
    /// Distinct keys, ascending.
    keys: Vec<u64>,
    /// Per value of the high bits the first key.
    directory: Vec<u32>,
    shift: u32,
    /// Per key where its places begin.
    starts: Vec<u32>,
    /// `(sequence, word position)`, ascending per key.
    places: Vec<(u32, u32)>,
    sequences: Vec<Sequence>,
    short: Short,
}

/// What a text has in common with the items.
#[derive(Debug, Default, Clone)]
pub struct Hits {
    /// `(word of the text, n-gram)`, in the order of the text.
    pub grams: Vec<(u32, u32)>,
    /// `(word of the text, sequence)` of sequences with fewer words than an n-gram, found whole.
    pub short: Vec<(u32, u32)>,
}

impl Hits {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.grams.is_empty() && self.short.is_empty()
    }
}

impl Index {
    /// Indexes every part of every item.
    pub fn new(items: &[Item]) -> Self {
        let mut sequences = Vec::new();
        let mut triples: Vec<(u64, u32, u32)> = Vec::new();
        let mut short = Vec::new();
        for (item, one) in items.iter().enumerate() {
            for (part, text) in one.parts.iter().enumerate() {
                let sequence = sequences.len() as u32;
                sequences.push(Sequence { item: item as u32, part: part as u32 });
                if text.words.len() < GRAM {
                    // Too short for an n-gram; worth looking for only where the whole text is evidence.
                    if one.rule.whole || one.rule.whole_below > text.words.len() {
                        short.push((sequence, text.words.clone()));
                    }
                } else {
                    each_gram(&text.words, GRAM, |at, key| triples.push((key, sequence, at)));
                }
            }
        }
        triples.sort_unstable();
        let mut keys: Vec<u64> = Vec::new();
        let mut starts = Vec::new();
        for (index, (key, ..)) in triples.iter().enumerate() {
            if keys.last() != Some(key) {
                keys.push(*key);
                starts.push(index as u32);
            }
        }
        starts.push(triples.len() as u32);
        let bits = keys.len().next_power_of_two().trailing_zeros().max(1);
        let shift = 64 - bits;
        let mut directory = vec![keys.len() as u32; (1 << bits) + 1];
        for (index, key) in keys.iter().enumerate().rev() {
            directory[(key >> shift) as usize] = index as u32;
        }
        // A value without keys begins where the next one does.
        for value in (0..1 << bits).rev() {
            directory[value] = directory[value].min(directory[value + 1]);
        }
        let places = triples.into_iter().map(|(_, sequence, at)| (sequence, at)).collect();
        Self { filter: Filter::new(&keys), keys, directory, shift, starts, places, sequences, short: Short::new(short) }
    }

    /// Number of distinct n-grams.
    pub fn grams(&self) -> usize {
        self.keys.len()
    }

    /// The sequence with this number.
    pub fn sequence(&self, sequence: u32) -> &Sequence {
        &self.sequences[sequence as usize]
    }

    /// The key of an n-gram.
    pub fn key(&self, gram: u32) -> u64 {
        self.keys[gram as usize]
    }

    /// Where an n-gram stands: `(sequence, word position)`, ascending.
    pub fn places(&self, gram: u32) -> &[(u32, u32)] {
        let gram = gram as usize;
        &self.places[self.starts[gram] as usize..self.starts[gram + 1] as usize]
    }

    /// Everything a text of these words has in common with the items.
    pub fn hits(&self, words: &[u64], hits: &mut Hits) {
        hits.grams.clear();
        hits.short.clear();
        each_gram(words, GRAM, |at, key| {
            if self.filter.may_have(key)
                && let Some(gram) = self.find(key)
            {
                hits.grams.push((at, gram));
            }
        });
        self.short.hits(words, &mut hits.short);
    }

    fn find(&self, key: u64) -> Option<u32> {
        let value = (key >> self.shift) as usize;
        let (first, end) = (self.directory[value] as usize, self.directory[value + 1] as usize);
        let at = self.keys[first..end].iter().position(|one| *one == key)?;
        Some((first + at) as u32)
    }
}

/// Calls `gram` with the position and key of each n-gram of `words`.
#[inline]
pub fn each_gram(words: &[u64], length: usize, mut gram: impl FnMut(u32, u64)) {
    let Some(first) = words.get(..length) else { return };
    let mut key = polynomial(first);
    gram(0, key);
    let out = (0..length).fold(1u64, |power, _| power.wrapping_mul(BASE));
    for (at, (leaves, enters)) in words.iter().zip(&words[length..]).enumerate() {
        key = key.wrapping_mul(BASE).wrapping_add(*enters).wrapping_sub(leaves.wrapping_mul(out));
        gram(at as u32 + 1, key);
    }
}

fn polynomial(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum: u64, word| sum.wrapping_mul(BASE).wrapping_add(*word))
}

/// The key of a whole sequence that is shorter than an n-gram.
pub fn short_key(words: &[u64]) -> u64 {
    polynomial(words).wrapping_add(words.len() as u64).wrapping_mul(BASE)
}

/// A Bloom filter that asks one 64-bit word.
#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
    shift: u32,
}

impl Filter {
    fn new(keys: &[u64]) -> Self {
        let size = (keys.len() * BITS_PER_GRAM / 64).next_power_of_two().clamp(LEAST_FILTER, MOST_FILTER);
        let shift = 64 - size.trailing_zeros();
        let mut words = vec![0; size];
        for key in keys {
            words[(key >> shift) as usize] |= Self::bits(*key);
        }
        Self { words, shift }
    }

    fn bits(key: u64) -> u64 {
        (1 << (key & 63)) | (1 << ((key >> 6) & 63))
    }

    #[inline]
    fn may_have(&self, key: u64) -> bool {
        let bits = Self::bits(key);
        self.words[(key >> self.shift) as usize] & bits == bits
    }
}

/// Sequences with fewer words than an n-gram, found by their last words.
#[derive(Debug)]
struct Short {
    /// How many last words: as many as the shortest sequence has. 0 when there are none.
    length: usize,
    filter: Filter,
    /// `(key of the last words, sequence, all words)`, ascending.
    ends: Vec<(u64, u32, Vec<u64>)>,
}

impl Short {
    fn new(sequences: Vec<(u32, Vec<u64>)>) -> Self {
        let length = sequences.iter().map(|(_, words)| words.len()).min().unwrap_or(0);
        let end = |(sequence, words): (u32, Vec<u64>)| (polynomial(&words[words.len() - length..]), sequence, words);
        let mut ends: Vec<_> = sequences.into_iter().map(end).collect();
        ends.sort_unstable();
        let keys: Vec<u64> = ends.iter().map(|(key, ..)| *key).collect();
        Self { length, filter: Filter::new(&keys), ends }
    }

    fn hits(&self, words: &[u64], hits: &mut Vec<(u32, u32)>) {
        if self.length == 0 {
            return;
        }
        each_gram(words, self.length, |at, key| {
            if !self.filter.may_have(key) {
                return;
            }
            let first = self.ends.partition_point(|(end, ..)| *end < key);
            let end = at as usize + self.length;
            for (_, sequence, whole) in self.ends[first..].iter().take_while(|(end, ..)| *end == key) {
                if words[..end].ends_with(whole) {
                    hits.push(((end - whole.len()) as u32, *sequence));
                }
            }
        });
    }
}
