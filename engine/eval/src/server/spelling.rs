//! How tokens look in answers.

use psann_core::{Result, Tokenizer};

use super::engine::TokenScore;
use crate::generate::Finish;
use crate::generate::stream::TextStream;

/// What a token says by itself; `None` for special tokens and parts of characters.
pub fn said(tokenizer: &dyn Tokenizer, token: u32) -> Option<String> {
    tokenizer.decode(&[token]).ok().filter(|text| !text.is_empty() && !text.contains('\u{fffd}'))
}

/// A token as text: what it says, or how it is written where it says nothing by itself.
pub fn token_text(tokenizer: &dyn Tokenizer, token: u32) -> String {
    said(tokenizer, token).or_else(|| tokenizer.spelling(token)).unwrap_or_default()
}

/// The text of `ids`, and for each of them how many characters stand before what it adds.
pub fn text_and_offsets(tokenizer: &dyn Tokenizer, ids: &[u32]) -> Result<(String, Vec<usize>)> {
    let mut stream = TextStream::new(tokenizer, &[])?;
    let (mut text, mut length) = (String::new(), 0);
    let mut offsets = Vec::with_capacity(ids.len());
    for id in ids {
        offsets.push(length);
        let piece = stream.push(*id)?;
        length += piece.chars().count();
        text.push_str(&piece);
    }
    text.push_str(&stream.finish()?);
    Ok((text, offsets))
}

/// The likeliest tokens of a score as text, best first, and the token itself behind them if it is not among them. Where two
/// tokens look the same, the likelier one is shown.
pub fn alternatives(tokenizer: &dyn Tokenizer, score: &TokenScore) -> Vec<(u32, String, f64)> {
    let mut shown: Vec<(u32, String, f64)> = Vec::with_capacity(score.top.len() + 1);
    let own = (!score.top.is_empty()).then_some((score.token, score.log_probability));
    for (token, log_probability) in score.top.iter().copied().chain(own) {
        let text = token_text(tokenizer, token);
        if !shown.iter().any(|(_, other, _)| *other == text) {
            shown.push((token, text, log_probability));
        }
    }
    shown
}

/// Why a text ended, in the interface's words.
pub fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::EndOfText | Finish::Stop | Finish::Cancelled => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ByteTokenizer;

    #[test]
    fn offsets_count_characters_and_the_text_is_whole() {
        let ids: Vec<u32> = "aé→b".bytes().map(u32::from).collect();
        let (text, offsets) = text_and_offsets(&ByteTokenizer, &ids).unwrap();
        assert_eq!(text, "aé→b");
        assert_eq!(offsets, [0, 1, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn of_tokens_that_look_the_same_the_likelier_is_shown() {
        // Two halves of characters: both are a replacement mark to a decoder of bytes.
        let score = TokenScore { token: 0xc4, log_probability: -3.0, top: vec![(0xc3, -0.5), (97, -2.0)] };
        let expected = [(0xc3, "\u{fffd}".to_owned(), -0.5), (97, "a".to_owned(), -2.0)];
        assert_eq!(alternatives(&ByteTokenizer, &score), expected);
    }
}
