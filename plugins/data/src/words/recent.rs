//! Words that were split a moment ago: filters that follow one another ask about the same texts, batch by batch, and
//! splitting is most of their work. Each thread remembers the texts of about one batch.

use std::cell::RefCell;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::Span;

/// Words that a thread remembers: 4 MB, those of two batches of web pages.
const MOST_WORDS: usize = 1 << 19;

#[derive(Default)]
struct Recent {
    words: BTreeMap<u128, Vec<Span>>,
    count: usize,
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

/// Puts the words of `text` into `spans`, from memory or by `split`.
pub fn recall(text: &str, spans: &mut Vec<Span>, split: impl FnOnce(&str, &mut Vec<Span>)) {
    let key = xxh3_128(text.as_bytes());
    let found = RECENT.with_borrow(|recent| {
        recent.words.get(&key).is_some_and(|words| {
            spans.extend_from_slice(words);
            true
        })
    });
    if found {
        return;
    }
    split(text, spans);
    if spans.len() > MOST_WORDS / 8 {
        return;
    }
    RECENT.with_borrow_mut(|recent| {
        if recent.count + spans.len() > MOST_WORDS {
            *recent = Recent::default();
        }
        recent.count += spans.len();
        recent.words.insert(key, spans.clone());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_once_and_forgotten_in_time() {
        let mut splits = 0;
        let mut ask = |text: &str, words: usize| {
            let mut spans = Vec::new();
            recall(text, &mut spans, |_, spans| {
                splits += 1;
                spans.resize(words, Span::new(0, 1));
            });
            assert_eq!(spans.len(), words);
            splits
        };
        assert_eq!([ask("a", 3), ask("a", 3), ask("b", 2), ask("a", 3)], [1, 1, 2, 2]);
        for number in 0..10 {
            ask(&format!("long {number}"), MOST_WORDS / 9);
        }
        assert_eq!(ask("a", 3), 13);
    }
}
