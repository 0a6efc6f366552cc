//! Which tokens of a rendered conversation the assistant wrote: the targets of fine-tuning.

use std::ops::Range;

use psann_core::{Result, Tokenizer};

use super::Rendered;

/// What happens where tokens and characters do not end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskRule {
    /// What transformers 5.23 marks: from the first token of a span's first character to the first token of its last
    /// character. Where that last character takes several tokens, the others stay unmarked; where a span ends in the very
    /// first token, or its last character has no token, everything behind its start is marked.
    Transformers,
    /// Each token that stands for a character of a span, or for a part of one.
    WholeCharacters,
}

/// The ids of `rendered`, and for each whether the assistant wrote it. Nothing is added around the text.
pub fn assistant_mask(rendered: &Rendered, tokenizer: &dyn Tokenizer, rule: MaskRule) -> Result<(Vec<u32>, Vec<bool>)> {
    let tokens = tokenizer.encode_spans(&rendered.text)?;
    let mut mask = vec![false; tokens.len()];
    for span in &rendered.generation_spans {
        match rule {
            MaskRule::Transformers => {
                // A span that begins behind the last token ends the marking.
                let Some(first) = token_of(&tokens, span.start) else { break };
                let last = span.end.checked_sub(1).and_then(|character| token_of(&tokens, character));
                let end = match last {
                    None | Some(0) => tokens.len(),
                    Some(last) => last + 1,
                };
                if first < end && span.end > 0 {
                    mask[first..end].fill(true);
                }
            }
            MaskRule::WholeCharacters => {
                for (marked, (_, characters)) in mask.iter_mut().zip(&tokens) {
                    *marked |= characters.start.max(span.start) < characters.end.min(span.end);
                }
            }
        }
    }
    Ok((tokens.into_iter().map(|(id, _)| id).collect(), mask))
}

/// The first token that stands for a character.
fn token_of(tokens: &[(u32, Range<usize>)], character: usize) -> Option<usize> {
    tokens.iter().position(|(_, characters)| characters.contains(&character))
}
