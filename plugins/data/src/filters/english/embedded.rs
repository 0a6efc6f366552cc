//! The detector that needs no model file.
//!
//! Two small crates look at the text, and both must name the same language. whichlang (a linear model of 16 languages)
//! is fast and nearly never misses English, but calls every unknown language by the name of one it knows; whatlang
//! (trigrams of 70 languages) knows more of them and is wrong about other texts. Together they keep a quarter of the
//! wrong texts that whichlang keeps alone; the table in [`super`] has the figures.
//!
//! Neither has a probability that means something. What a threshold needs is how much of the text is in the language,
//! so whichlang judges the text piece by piece, and the score is the share of bytes it gives to the language.

use psann_core::{Error, Result};
use whichlang::Lang;

use super::Verdict;

/// Enters the fingerprint of a stage; the versions are pinned in the workspace's `Cargo.toml`.
pub(super) const IDENTITY: &str = "whichlang 0.1.1 and whatlang 0.18.0, pieces of 256";

/// Bytes that decide about the language: more change nothing (same verdict on every golden text) and whatlang is slow.
const BEGINNING: usize = 4096;
/// Bytes of a piece: shorter ones are misjudged more often, longer ones tell less about mixtures.
const PIECE: usize = 256;

/// What it knows: both crates do.
const KNOWN: [(&str, Lang); 16] = [
    ("ar", Lang::Ara),
    ("de", Lang::Deu),
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("fr", Lang::Fra),
    ("hi", Lang::Hin),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("ko", Lang::Kor),
    ("nl", Lang::Nld),
    ("pt", Lang::Por),
    ("ru", Lang::Rus),
    ("sv", Lang::Swe),
    ("tr", Lang::Tur),
    ("vi", Lang::Vie),
    ("zh", Lang::Cmn),
];

/// The detector, for some languages.
#[derive(Debug)]
pub(super) struct Embedded {
    accepted: Vec<Lang>,
}

impl Embedded {
    pub(super) fn new(languages: &[String]) -> Result<Self> {
        let find = |language: &String| {
            KNOWN.iter().find(|known| known.0 == language).map(|known| known.1).ok_or_else(|| {
                let all: Vec<&str> = KNOWN.iter().map(|known| known.0).collect();
                Error::usage(format!("`language`: the built-in detector does not know `{language}`"))
                    .hint(format!("it knows {}; for others name a fastText model in `model`", all.join(", ")))
            })
        };
        Ok(Self { accepted: languages.iter().map(find).collect::<Result<_>>()? })
    }

    pub(super) fn judge(&self, text: &str) -> Verdict {
        let beginning = &text[..text.floor_char_boundary(BEGINNING)];
        let Some(second) = whatlang::detect_lang(beginning) else { return Verdict::Unknown };
        let first = whichlang::detect_language(beginning);
        if !self.accepted.contains(&first) {
            Verdict::Another
        } else if second.code() == first.three_letter_code() {
            Verdict::Accepted(self.share(text))
        } else {
            Verdict::Unknown
        }
    }

    /// The share of bytes in pieces that are in one of the languages.
    fn share(&self, text: &str) -> f64 {
        let accepted = |piece: &&str| self.accepted.contains(&whichlang::detect_language(piece));
        let bytes: usize = pieces(text).filter(accepted).map(str::len).sum();
        bytes as f64 / text.len() as f64
    }
}

/// The text in pieces, none of them much shorter than the others.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = if rest.len() < PIECE * 3 / 2 { rest.len() } else { rest.floor_char_boundary(PIECE) };
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_text_and_never_split_a_character() {
        for text in ["", "short", &"word ".repeat(200), &"語".repeat(300), &"x".repeat(PIECE * 3 / 2)] {
            let all: Vec<&str> = pieces(text).collect();
            assert_eq!(all.concat(), text);
            assert!(all.iter().all(|piece| text.len() < PIECE || piece.len() >= PIECE / 2));
        }
    }

    #[test]
    fn both_crates_know_every_language_by_the_same_code() {
        for (code, language) in KNOWN {
            assert!(whatlang::Lang::from_code(language.three_letter_code()).is_some(), "{code}");
        }
    }
}
