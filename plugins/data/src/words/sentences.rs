//! Sentences, as spaCy's rule-based `sentencizer` counts them: one ends with an end mark and all punctuation after it.

use super::classes::punctuation;
use super::merge::adjacent;
use super::{Splitter, Words};

/// spaCy's end marks beyond ASCII (MIT licence, pipeline/sentencizer.pyx).
const END_MARKS: &str = "\u{589}\u{61f}\u{6d4}\u{700}\u{701}\u{702}\u{7f9}\u{964}\u{965}\u{104a}\u{104b}\u{1362}\u{1367}\
    \u{1368}\u{166e}\u{1735}\u{1736}\u{1803}\u{1809}\u{1944}\u{1945}\u{1aa8}\u{1aa9}\u{1aaa}\u{1aab}\u{1b5a}\u{1b5b}\
    \u{1b5e}\u{1b5f}\u{1c3b}\u{1c3c}\u{1c7e}\u{1c7f}\u{203c}\u{203d}\u{2047}\u{2048}\u{2049}\u{2e2e}\u{2e3c}\u{a4ff}\
    \u{a60e}\u{a60f}\u{a6f3}\u{a6f7}\u{a876}\u{a877}\u{a8ce}\u{a8cf}\u{a92f}\u{a9c8}\u{a9c9}\u{aa5d}\u{aa5e}\u{aa5f}\
    \u{aaf0}\u{aaf1}\u{abeb}\u{fe52}\u{fe56}\u{fe57}\u{ff01}\u{ff0e}\u{ff1f}\u{10a56}\u{10a57}\u{11047}\u{11048}\
    \u{110be}\u{110bf}\u{110c0}\u{110c1}\u{11141}\u{11142}\u{11143}\u{111c5}\u{111c6}\u{111cd}\u{111de}\u{111df}\
    \u{11238}\u{11239}\u{1123b}\u{1123c}\u{112a9}\u{1144b}\u{1144c}\u{115c2}\u{115c3}\u{115c9}\u{115ca}\u{115cb}\
    \u{115cc}\u{115cd}\u{115ce}\u{115cf}\u{115d0}\u{115d1}\u{115d2}\u{115d3}\u{115d4}\u{115d5}\u{115d6}\u{115d7}\
    \u{11641}\u{11642}\u{1173c}\u{1173d}\u{1173e}\u{11a42}\u{11a43}\u{11a9b}\u{11a9c}\u{11c41}\u{11c42}\u{16a6e}\
    \u{16a6f}\u{16af5}\u{16b37}\u{16b38}\u{16b44}\u{1bc9f}\u{1da88}\u{ff61}\u{3002}";

/// Number of sentences in a text whose words spaCy split. A text without words is one sentence, and so are blanks behind
/// the last one unless they are a single space: datatrove counts what spaCy cuts, not what it means.
pub fn count(words: Words) -> usize {
    let mut sentences = 1;
    let mut ended = false;
    for (index, word) in words.iter().enumerate() {
        // Blanks that are a word begin the next sentence, whatever follows.
        if ended && !adjacent(words.source, words.spans[index - 1], words.spans[index]) {
            sentences += 1;
            ended = false;
        }
        if is_end_mark(word) {
            ended = true;
        } else if ended && !word.chars().all(punctuation) {
            sentences += 1;
            ended = false;
        }
    }
    let rest = words.spans.last().map_or("", |last| &words.source[last.end as usize..]);
    sentences + usize::from(ended && !matches!(rest, "" | " "))
}

/// The same for a text that is not split yet; `spans` is room for its words.
pub fn count_in(text: &str, spans: &mut Vec<super::Span>) -> usize {
    Splitter::Spacy.split(text, spans);
    count(Words { source: text, spans })
}

fn is_end_mark(word: &str) -> bool {
    match word.as_bytes() {
        [b'!' | b'.' | b'?'] => true,
        [] | [..0x80, ..] => false,
        _ => {
            let mut characters = word.chars();
            let first = characters.next();
            characters.next().is_none() && first.is_some_and(|c| END_MARKS.contains(c))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_those_of_spacy() {
        let check = |text: &str, expect: usize| assert_eq!(count_in(text, &mut Vec::new()), expect, "{text}");
        check("", 1);
        check("  ", 1);
        check("One. ", 1);
        check("One.\n", 2);
        check("One", 1);
        check("One. Two! Three?", 3);
        check("Is it?! (Yes.) No...", 3);
        check("Mr. Smith came. \"Really?\" \"Yes.\"", 3);
        check("One.  .", 2);
        check("\u{4e00}\u{3002} \u{4e8c}\u{3002}", 2);
    }
}
