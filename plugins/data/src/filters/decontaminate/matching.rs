//! From shared n-grams to a verdict about one item: n-grams that follow one another in both texts are a run, runs cover
//! a part of the item, and its rule says what is enough.
//!
//! A frequent n-gram is no evidence by itself. A run therefore counts with its longest stretch of rare n-grams, and a
//! share has to be reached twice: by all n-grams, and by the rare ones among the rare ones of the item. So a formula that
//! many documents have proves nothing, and does not hide the item it stands in either.

use serde::{Deserialize, Serialize};

use super::index::{GRAM, Hits, Index, short_key};
use super::items::{Item, Part};
use super::rules::Rule;

/// Words of the n-grams whose share of an article is counted: six 8-grams in a row.
pub const LONG_GRAM: usize = 13;

/// Words that follow one another in a part of an item and in the document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run {
    /// The part of the item.
    pub part: u32,
    /// The first word in it.
    pub at: u32,
    /// How many words.
    pub words: u32,
    /// Whether it is a line of the document.
    pub line: bool,
}

/// A run and where it lies in the document.
#[derive(Debug, Clone)]
pub struct Located {
    /// The item.
    pub item: u32,
    /// The first word in the document.
    pub document: u32,
    /// The run; `line` is not set yet.
    pub run: Run,
}

/// What a document and an item have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// Words of the longest run.
    pub run: usize,
    /// Words of the longest run that reaches the end of the part.
    pub final_run: usize,
    /// Share of the words of a part (one whose cover counts) that lie in shared 8-grams.
    pub cover: f64,
    /// Share of its 8-grams that are shared.
    pub grams: f64,
    /// Share of the 13-grams of all parts.
    pub share: f64,
    /// A whole part is there.
    pub whole: bool,
    /// A whole part is there, as a line of its own.
    pub line: bool,
    /// The rule that the evidence satisfies.
    pub fired: Option<&'static str>,
}

/// The runs that `hits` make, sorted by item. A run ends where either text goes on differently.
pub fn runs(index: &Index, items: &[Item], hits: &Hits) -> Vec<Located> {
    // Open runs as (sequence, word that comes next), in the order in which the places of an n-gram are sorted.
    let mut open: Vec<(u32, u32, u32)> = Vec::new();
    let mut next: Vec<(u32, u32, u32)> = Vec::new();
    let mut closed: Vec<Located> = Vec::new();
    let mut close = |(sequence, comes, length): (u32, u32, u32), document: u32| {
        let one = index.sequence(sequence);
        let run = Run { part: one.part, at: comes - length, words: length + GRAM as u32 - 1, line: false };
        closed.push(Located { item: one.item, document: document + 1 - length, run });
    };
    let mut before = None;
    for &(at, gram) in &hits.grams {
        if let Some(before) = before
            && before + 1 != at
        {
            open.drain(..).for_each(|one| close(one, before));
        }
        let mut old = open.drain(..).peekable();
        for &(sequence, place) in index.places(gram) {
            while let Some(one) = old.next_if(|one| (one.0, one.1) < (sequence, place)) {
                close(one, at - 1);
            }
            let length = old.next_if(|one| (one.0, one.1) == (sequence, place)).map_or(0, |one| one.2);
            next.push((sequence, place + 1, length + 1));
        }
        old.for_each(|one| close(one, at - 1));
        std::mem::swap(&mut open, &mut next);
        before = Some(at);
    }
    if let Some(before) = before {
        open.drain(..).for_each(|one| close(one, before));
    }
    for &(document, sequence) in &hits.short {
        let one = index.sequence(sequence);
        let words = items[one.item as usize].parts[one.part as usize].words.len() as u32;
        closed.push(Located { item: one.item, document, run: Run { part: one.part, at: 0, words, line: false } });
    }
    closed.sort_by(|a, b| (a.item, &a.run, a.document).cmp(&(b.item, &b.run, b.document)));
    closed
}

/// What the runs of one item (sorted by part) say about it when the n-grams that are `frequent` are no evidence by
/// themselves.
pub fn weigh(item: &Item, runs: &[Run], frequent: &dyn Fn(u64) -> bool) -> Facts {
    let mut all = Facts::default();
    let (mut long, mut rare_long) = (Share::default(), Share::default());
    for part_runs in runs.chunk_by(|a, b| a.part == b.part) {
        let part = &item.parts[part_runs[0].part as usize];
        let (facts, part_long, part_rare_long) = weigh_part(part, part_runs, &item.rule, frequent);
        long.add(part_long);
        rare_long.add(part_rare_long);
        all.run = all.run.max(facts.run);
        all.final_run = all.final_run.max(facts.final_run);
        all.cover = all.cover.max(facts.cover);
        all.grams = all.grams.max(facts.grams);
        all.whole |= facts.whole;
        all.line |= facts.line;
        all.fired = all.fired.or(facts.fired);
    }
    if long.there == 0 {
        return all;
    }
    // Parts without a run count too: nothing of them is there.
    for (index, part) in item.parts.iter().enumerate() {
        if runs.binary_search_by_key(&(index as u32), |run| run.part).is_err() {
            let (_, part_long, part_rare_long) = weigh_part(part, &[], &item.rule, frequent);
            long.add(part_long);
            rare_long.add(part_rare_long);
        }
    }
    all.share = long.value();
    let share = long.value().min(rare_long.value());
    if all.fired.is_none() && item.rule.share > 0.0 && share >= item.rule.share {
        all.fired = Some("share");
    }
    all
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    there: usize,
    of: usize,
}

impl Share {
    fn of(flags: impl Iterator<Item = bool>) -> Self {
        flags.fold(Self::default(), |sum, flag| Self { there: sum.there + usize::from(flag), of: sum.of + 1 })
    }

    fn add(&mut self, other: Self) {
        self.there += other.there;
        self.of += other.of;
    }

    fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.there as f64 / self.of as f64 }
    }
}

fn weigh_part(part: &Part, runs: &[Run], rule: &Rule, frequent: &dyn Fn(u64) -> bool) -> (Facts, Share, Share) {
    let length = part.words.len();
    let whole = |run: &Run| run.words as usize == length;
    if length < GRAM {
        let mut facts = Facts::default();
        if !runs.is_empty() {
            let rare = !frequent(short_key(&part.words));
            let line = runs.iter().any(|run| run.line);
            let fired = (rare && (rule.whole || length < rule.whole_below)).then_some("whole");
            facts = Facts { run: length, final_run: length, whole: true, line, fired, ..facts };
        }
        return (facts, Share::default(), Share::default());
    }
    let mut rare = vec![true; length + 1 - GRAM];
    super::index::each_gram(&part.words, GRAM, |at, key| rare[at as usize] = !frequent(key));
    let mut facts = Facts::default();
    let mut evidence = Facts::default();
    let mut shared = vec![false; rare.len()];
    let mut long = vec![false; (length + 1).saturating_sub(LONG_GRAM)];
    for run in runs {
        let (at, words) = (run.at as usize, run.words as usize);
        let grams = at..at + words + 1 - GRAM;
        shared[grams.clone()].fill(true);
        if words >= LONG_GRAM {
            long[at..at + words + 1 - LONG_GRAM].fill(true);
        }
        let stretch = longest(&rare[grams]).map_or(0, |grams| grams + GRAM - 1);
        facts.run = facts.run.max(words);
        evidence.run = evidence.run.max(stretch);
        if at + words == length {
            facts.final_run = facts.final_run.max(words);
            evidence.final_run = evidence.final_run.max(stretch);
        }
        facts.whole |= whole(run);
        facts.line |= whole(run) && run.line;
        evidence.whole |= whole(run) && stretch > 0;
        evidence.line |= whole(run) && run.line && stretch > 0;
    }
    let every = vec![true; rare.len()];
    let covered = cover(&shared, &every, length);
    let covered_rare = cover(&shared, &rare, length);
    if part.covers {
        facts.cover = covered.value();
        facts.grams = Share::of(shared.iter().copied()).value();
        evidence.cover = covered.value().min(covered_rare.value());
    }
    let rare_long = |at: usize| rare[at..=at + LONG_GRAM - GRAM].iter().all(|rare| *rare);
    let of_rare = Share::of((0..long.len()).filter(|at| rare_long(*at)).map(|at| long[at]));
    facts.fired = fired(&evidence, rule, length);
    (facts, Share::of(long.iter().copied()), of_rare)
}

/// The longest stretch of `true`.
fn longest(flags: &[bool]) -> Option<usize> {
    flags.split(|flag| !flag).map(<[bool]>::len).max().filter(|length| *length > 0)
}

/// Of the words that lie in n-grams with the flag `of`, those that lie in `shared` ones.
fn cover(shared: &[bool], of: &[bool], length: usize) -> Share {
    let mut there = vec![false; length];
    let mut all = vec![false; length];
    for at in (0..of.len()).filter(|at| of[*at]) {
        all[at..at + GRAM].fill(true);
        if shared[at] {
            there[at..at + GRAM].fill(true);
        }
    }
    Share::of(all.iter().zip(there).filter(|(all, _)| **all).map(|(_, there)| there))
}

/// The rule that the evidence about a part satisfies.
fn fired(evidence: &Facts, rule: &Rule, length: usize) -> Option<&'static str> {
    let reaches = |words: usize, least: usize| least > 0 && words >= least;
    if length < rule.whole_below {
        return evidence.whole.then_some("whole");
    }
    if evidence.line && reaches(length, rule.paragraph) {
        Some("paragraph")
    } else if rule.whole && evidence.whole {
        Some("whole")
    } else if reaches(evidence.run, rule.run) {
        Some("run")
    } else if reaches(evidence.final_run, rule.final_run) {
        Some("final_run")
    } else {
        (rule.cover > 0.0 && evidence.cover >= rule.cover).then_some("cover")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words of a small alphabet, so that texts share much.
    fn text() -> impl Strategy<Value = Vec<u64>> {
        let word = prop_oneof![4 => Just(0u64), 1 => 1..4u64];
        let mixed = |word: u64| (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        proptest::collection::vec(word.prop_map(mixed), 0..40)
    }

    fn facts(item: &Item, document: &[u64], frequent: &dyn Fn(u64) -> bool) -> Facts {
        let items = std::slice::from_ref(item);
        let index = Index::new(items);
        let mut hits = Hits::default();
        index.hits(document, &mut hits);
        let runs: Vec<Run> = runs(&index, items, &hits).into_iter().map(|one| one.run).collect();
        weigh(item, &runs, frequent)
    }

    fn item(words: Vec<u64>, rule: Rule) -> Item {
        let parts = vec![Part { words, covers: true }];
        Item { set: "set".into(), id: "set-0".into(), rule, parts, least: 0 }
    }

    /// Whether `words[at..at + length]` is somewhere in `document`.
    fn has(words: &[u64], at: usize, length: usize, document: &[u64]) -> bool {
        words.get(at..at + length).is_some_and(|gram| document.windows(length).any(|window| window == gram))
    }

    proptest! {
        #[test]
        fn facts_are_what_comparing_all_places_gives(words in text(), document in text()) {
            let facts = facts(&item(words.clone(), Rule::default()), &document, &|_| false);
            let n = words.len();
            let longest = |ends: &dyn Fn(usize) -> bool| {
                let spans = (0..n).flat_map(|at| (GRAM..=n - at).map(move |length| (at, length)));
                spans.filter(|(at, length)| ends(at + length) && has(&words, *at, *length, &document))
                    .map(|(_, length)| length).max().unwrap_or(0)
            };
            prop_assert_eq!(facts.run, longest(&|_| true));
            prop_assert_eq!(facts.final_run, longest(&|end| end == n));
            let shared = |length: usize| (0..(n + 1).saturating_sub(length)).filter(|at| has(&words, *at, length, &document)).collect::<Vec<_>>();
            let grams = shared(GRAM);
            let covered = (0..n).filter(|word| grams.iter().any(|at| (*at..at + GRAM).contains(word))).count();
            let share = |there: usize, of: usize| if there == 0 { 0.0 } else { there as f64 / of as f64 };
            prop_assert_eq!(facts.cover, share(covered, n));
            prop_assert_eq!(facts.grams, share(grams.len(), (n + 1).saturating_sub(GRAM)));
            prop_assert_eq!(facts.share, share(shared(LONG_GRAM).len(), (n + 1).saturating_sub(LONG_GRAM)));
            prop_assert_eq!(facts.whole, n >= GRAM && has(&words, 0, n, &document));
        }

        #[test]
        fn frequent_ngrams_never_add_evidence(words in text(), document in text(), salt in any::<u64>()) {
            let rule = Rule { run: 9, final_run: 8, cover: 0.5, share: 0.3, whole: true, ..Rule::default() };
            let item = item(words, rule);
            let fired = |frequent: &dyn Fn(u64) -> bool| facts(&item, &document, frequent).fired.is_some();
            prop_assert!(fired(&|_| false) || !fired(&|key| (key ^ salt).count_ones() % 3 == 0));
            prop_assert!(!fired(&|_| true));
        }
    }
}
