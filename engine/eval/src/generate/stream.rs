//! Turns tokens into text as they come. A byte-level token may end within a character, and some decoders treat the
//! first token of what they are given differently (a space in front of it disappears), so tokens cannot be decoded one by one.
//!
//! A window of tokens is decoded instead, once without and once with what is new; the difference is the new text. It
//! waits while it ends in U+FFFD, which is how decoders show an unfinished character.

use psann_core::{Result, Tokenizer};

/// Tokens after which text is given out even if it ends in U+FFFD: no character is that long, the model means it.
const PATIENCE: usize = 16;

/// Text of a growing list of tokens.
pub struct TextStream<'a> {
    tokenizer: &'a dyn Tokenizer,
    /// The end of what was given out, for context, then what was not.
    window: Vec<u32>,
    /// How much of `window` was given out.
    given: usize,
    /// Its text.
    known: String,
}

impl<'a> TextStream<'a> {
    /// A stream behind `before`, which it does not give out.
    pub fn new(tokenizer: &'a dyn Tokenizer, before: &[u32]) -> Result<Self> {
        Ok(Self { tokenizer, window: before.to_vec(), given: before.len(), known: tokenizer.decode(before)? })
    }

    /// Adds a token; gives the text that became certain, often none.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.window.push(token);
        let text = self.tokenizer.decode(&self.window)?;
        if text.ends_with('\u{fffd}') && self.window.len() - self.given < PATIENCE {
            return Ok(String::new());
        }
        self.give(&text)
    }

    /// The rest: characters that no further token will complete.
    pub fn finish(mut self) -> Result<String> {
        if self.given == self.window.len() {
            return Ok(String::new());
        }
        let text = self.tokenizer.decode(&self.window)?;
        self.give(&text)
    }

    fn give(&mut self, text: &str) -> Result<String> {
        let new = new_part(&self.known, text).to_owned();
        // What was new is the context of what comes. It begins where a character begins: a decoder of byte tokens that is
        // given half a character gives up on the whole characters behind it too.
        self.window.drain(..self.given);
        self.given = self.window.len();
        self.known = self.tokenizer.decode(&self.window)?;
        Ok(new)
    }
}

/// What `text` has beyond `known`. A decoder may have changed its mind about the end of `known` (an unfinished character
/// turned out to be one), so they need not agree to the end.
fn new_part<'t>(known: &str, text: &'t str) -> &'t str {
    let shared = known.char_indices().zip(text.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
    &text[shared.unwrap_or(known.len()).min(text.len())..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::ByteTokenizer;

    fn stream(before: &str, ids: &[u32]) -> Vec<String> {
        let before = ByteTokenizer.encode(before).unwrap();
        let mut stream = TextStream::new(&ByteTokenizer, &before).unwrap();
        let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
        pieces.push(stream.finish().unwrap());
        pieces
    }

    #[test]
    fn broken_bytes_come_out_as_one_mark_and_hold_nothing_up_for_long() {
        let ids = [0xff, u32::from(b'a')];
        assert_eq!(stream("", &ids), ["", "\u{fffd}a", ""]);
        let pieces = stream("", &[0xff; 40]);
        assert!(pieces.iter().filter(|piece| !piece.is_empty()).count() >= 2, "{pieces:?}");
        assert_eq!(pieces.concat().chars().count(), 40);
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text_whatever_came_before(before in ".{0,12}", text in ".{0,40}") {
            let ids = ByteTokenizer.encode(&text).unwrap();
            let pieces = stream(&before, &ids);
            prop_assert_eq!(pieces.concat(), text);
        }
    }
}
