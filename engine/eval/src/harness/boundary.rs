//! From the text of a question to the ids that a model reads, and which of them are scored.
//!
//! Where a context ends and its continuation begins is a question of characters; models see tokens, and a token may
//! reach across. The rules here are those of the reference's Hugging Face class, the one that published numbers come
//! from: whitespace at the end of a context belongs to the continuation, context and continuation are encoded
//! together, and the boundary is where the context, encoded alone, would have ended.

use psann_core::{Error, Result, Tokenizer};

use crate::python::text::split_trailing_space;
use crate::windows;

/// Ids to read and ids to score behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scored {
    /// What is read and not scored; never empty unless `continuation` is.
    pub context: Vec<u32>,
    /// What is scored. A model reads all of `context` and `continuation` but the last id.
    pub continuation: Vec<u32>,
    /// Ids of the context that were cut from its front to fit.
    pub dropped: usize,
}

/// Turns texts into ids for a model that reads at most `max_length` of them.
#[derive(Clone)]
pub struct Encoder<'a> {
    tokenizer: &'a dyn Tokenizer,
    max_length: usize,
    prefix: Option<u32>,
    /// The prefix token in a text; never empty.
    spelled: Option<String>,
}

impl<'a> Encoder<'a> {
    /// With the tokenizer's begin-of-text token, or else its end-of-text token, as what stands before a text.
    ///
    /// # Errors
    /// When `max_length` is 0.
    pub fn new(tokenizer: &'a dyn Tokenizer, max_length: usize) -> Result<Self> {
        if max_length == 0 {
            return Err(Error::usage("option `max_length` must be at least 1, found 0"));
        }
        let special = tokenizer.special();
        let prefix = special.bos.or(special.eos);
        let spelled = prefix.and_then(|id| tokenizer.spelling(id)).filter(|spelled| !spelled.is_empty());
        Ok(Self { tokenizer, max_length, prefix, spelled })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &'a dyn Tokenizer {
        self.tokenizer
    }

    /// The most ids that the model reads at once.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// What stands before a text that has no context.
    ///
    /// # Errors
    /// When the tokenizer has neither a begin-of-text nor an end-of-text token.
    pub fn prefix(&self) -> Result<u32> {
        self.prefix.ok_or_else(|| {
            Error::new("the tokenizer has neither a begin-of-text nor an end-of-text token, so a text without context cannot be scored")
                .hint("name `bos_token` or `eos_token` in `tokenizer_config.json` or `special_tokens_map.json` beside the tokenizer")
        })
    }

    /// Ids of a text with what the tokenizer puts around it, unless the text already begins with the prefix token.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let begun = self.spelled.as_ref().is_some_and(|spelled| text.starts_with(spelled));
        self.tokenizer.encode_markup(text, !begun)
    }

    /// Ids of a context and of its continuation, before anything is cut.
    ///
    /// # Errors
    /// When a prefix token is needed and there is none.
    pub fn pair(&self, context: &str, continuation: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        self.continued(context, self.context(context)?, continuation)
    }

    /// What is scored of `continuation` behind `context`.
    ///
    /// # Errors
    /// When the continuation alone is longer than the model reads.
    pub fn scored(&self, context: &str, continuation: &str) -> Result<Scored> {
        self.scored_behind(context, self.context(context)?, continuation)
    }

    /// The same behind a context whose ids ([`Self::context`]) are known: the choices of a question have one in common.
    ///
    /// # Errors
    /// As [`Self::scored`].
    pub fn scored_behind(&self, context: &str, ids: Vec<u32>, continuation: &str) -> Result<Scored> {
        let (context, continuation) = self.continued(context, ids, continuation)?;
        self.cut(context, continuation)
    }

    /// Ids of a context alone, without the whitespace that belongs to what follows.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn context(&self, context: &str) -> Result<Vec<u32>> {
        let (kept, _) = split_trailing_space(context);
        if context.is_empty() { Ok(Vec::new()) } else { self.encode(kept) }
    }

    fn continued(&self, context: &str, ids: Vec<u32>, continuation: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let (context, moved) = split_trailing_space(context);
        let continuation = format!("{moved}{continuation}");
        if ids.is_empty() {
            // Nothing is before the continuation, so the prefix token stands there, unless it begins with it already.
            let prefix = self.prefix()?;
            let mut scored = self.tokenizer.encode_markup(&continuation, false)?;
            if scored.first() == Some(&prefix) {
                scored.remove(0);
            }
            return Ok((vec![prefix], scored));
        }
        let mut whole = self.encode(&format!("{context}{continuation}"))?;
        // By count alone: where a token reaches across the boundary, what is read is not what the whole begins with.
        let scored = whole.split_off(ids.len().min(whole.len()));
        Ok((ids, scored))
    }

    /// The windows that predict each token of `text` once, the first one behind the prefix token.
    ///
    /// # Errors
    /// When the tokenizer has no prefix token.
    pub fn rolling(&self, text: &str) -> Result<Vec<Scored>> {
        let tokens = self.encode(text)?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let sequence: Vec<u32> = std::iter::once(self.prefix()?).chain(tokens).collect();
        let windows = windows::rolling(sequence.len(), self.max_length, self.max_length);
        let scored = windows.into_iter().map(|window| {
            let end = window.start + window.length + 1;
            let boundary = end - window.scored;
            Scored {
                context: sequence[window.start..boundary].to_vec(),
                continuation: sequence[boundary..end].to_vec(),
                dropped: 0,
            }
        });
        Ok(scored.collect())
    }

    /// The ids that a generation of `tokens` new ones starts from: the end of the prompt, so that both fit.
    ///
    /// # Errors
    /// When so many new tokens leave no room for a prompt.
    pub fn prompt(&self, text: &str, tokens: usize) -> Result<(Vec<u32>, usize)> {
        let room = self.max_length.saturating_sub(tokens);
        if room == 0 {
            return Err(Error::usage(format!(
                "{tokens} new tokens leave no room for a prompt: the model reads {} at once",
                self.max_length
            ))
            .hint("lower `max_gen_toks` of the task"));
        }
        let mut ids = self.encode(text)?;
        if ids.is_empty() {
            ids.push(self.prefix()?);
        }
        let dropped = ids.len().saturating_sub(room);
        Ok((ids.split_off(dropped), dropped))
    }

    /// The end of a context, so that it fits with its continuation.
    fn cut(&self, mut context: Vec<u32>, continuation: Vec<u32>) -> Result<Scored> {
        if continuation.len() > self.max_length {
            return Err(Error::new(format!(
                "a continuation of {} tokens is longer than the {} that the model reads at once",
                continuation.len(),
                self.max_length
            ))
            .hint("raise that (`--max-length`, in recipes `context`) if the model can read more, or leave the document out"));
        }
        // The last id is predicted and not read, so one more fits.
        let dropped = (context.len() + continuation.len()).saturating_sub(self.max_length + 1);
        let context = context.split_off(dropped);
        Ok(Scored { context, continuation, dropped })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use psann_core::tokenizer::SpecialTokens;

    use super::*;

    /// Bytes, with or without 256 to begin a text.
    struct Bytes {
        begin: Option<u32>,
    }

    impl Tokenizer for Bytes {
        fn encode(&self, text: &str) -> Result<Vec<u32>> {
            self.encode_markup(text, false)
        }

        fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
            texts.iter().map(|text| self.encode(text)).collect()
        }

        fn encode_markup(&self, text: &str, _around: bool) -> Result<Vec<u32>> {
            let (begin, rest) = match text.strip_prefix("<b>") {
                Some(rest) if self.begin.is_some() => (self.begin, rest),
                _ => (None, text),
            };
            Ok(begin.into_iter().chain(rest.bytes().map(u32::from)).collect())
        }

        fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
            Ok(text.char_indices().map(|(at, letter)| (letter as u32, at..at + 1)).collect())
        }

        fn spelling(&self, id: u32) -> Option<String> {
            if Some(id) == self.begin { Some("<b>".into()) } else { char::from_u32(id).map(String::from) }
        }

        fn decode(&self, ids: &[u32]) -> Result<String> {
            Ok(ids.iter().filter_map(|id| char::from_u32(*id)).collect())
        }

        fn vocabulary(&self) -> usize {
            257
        }

        fn special(&self) -> SpecialTokens {
            SpecialTokens { bos: self.begin, ..SpecialTokens::default() }
        }

        fn identity(&self) -> String {
            "bytes".into()
        }
    }

    fn ids(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    #[test]
    fn whitespace_moves_and_long_contexts_lose_their_beginning() {
        let tokenizer = Bytes { begin: Some(256) };
        let encoder = Encoder::new(&tokenizer, 4).unwrap();
        let scored = encoder.scored("abc \n", "d").unwrap();
        assert_eq!(scored, Scored { context: ids("bc"), continuation: ids(" \nd"), dropped: 1 });
        // A context of nothing but whitespace leaves the prefix token.
        let scored = encoder.scored("  ", "d").unwrap();
        assert_eq!(scored, Scored { context: vec![256], continuation: ids("  d"), dropped: 0 });
        assert_eq!(encoder.scored("", "<b>d").unwrap(), encoder.scored("", "d").unwrap());
        assert!(encoder.scored("ab", "").unwrap().continuation.is_empty());
        assert_eq!(encoder.prompt("abcdef", 1).unwrap(), (ids("def"), 3));
        insta::assert_snapshot!(
            encoder.scored("a", "bcdef").unwrap_err(),
            @"a continuation of 5 tokens is longer than the 4 that the model reads at once"
        );
        insta::assert_snapshot!(
            encoder.prompt("a", 4).unwrap_err(),
            @"4 new tokens leave no room for a prompt: the model reads 4 at once"
        );
    }

    #[test]
    fn a_prefix_token_is_needed_only_without_context() {
        let tokenizer = Bytes { begin: None };
        let encoder = Encoder::new(&tokenizer, 8).unwrap();
        assert!(encoder.scored("ab", "c").is_ok());
        assert!(encoder.rolling("").unwrap().is_empty());
        insta::assert_snapshot!(
            encoder.scored("", "c").unwrap_err(),
            @"the tokenizer has neither a begin-of-text nor an end-of-text token, so a text without context cannot be scored"
        );
        assert!(encoder.rolling("a").is_err());
        assert!(Encoder::new(&tokenizer, 0).is_err());
    }
}
