//! A prompt as the model sees it: its exact text, where tokens end, what is scored, and what may be wrong with it.
//!
//! Most surprising scores come from a prompt that is not what its author thinks: a begin-of-text token twice, a blank that
//! moved into what is scored, a chat template that opens no answer. All of it can be seen here before anything runs.

use std::fmt;
use std::ops::Range;

use psann_core::Result;

use super::boundary::{Encoder, Scored};
use super::prompt::{Ending, Format, RenderError};
use super::suite::{Argument, Key, Request, Suite};
use crate::python::text::split_trailing_space;

/// Between two tokens.
const BETWEEN: char = '│';
/// Between what is read and what is scored.
const BOUNDARY: char = '║';

/// Everything that is asked about one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `piqa, document 3`.
    pub title: String,
    /// The requests, in order.
    pub requests: Vec<ShownRequest>,
    /// What may be wrong with the prompt as a whole.
    pub warnings: Vec<String>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownRequest {
    /// What is read and scored, in numbers.
    pub summary: String,
    /// The text with its boundaries: `│` between tokens, `║` before what is scored, `↵` at line ends.
    pub text: String,
    /// What may be wrong with it.
    pub warnings: Vec<String>,
}

/// Shows what is asked about a document.
///
/// # Errors
/// As [`Suite::requests`].
pub fn show(suite: &Suite<'_>, key: Key) -> Result<Shown> {
    let (planned, document) = suite.get(key)?;
    let asked = suite.ask(key)?;
    let requests = suite.requests(key)?;
    let mut warnings = Vec::new();
    if asked.without_system > 0 {
        warnings.push("the chat template refuses system messages, so the instruction is left out".to_owned());
    }
    if opens_no_answer(suite, key)? {
        warnings.push("the chat template opens no answer: the prompt ends behind the question's turn".to_owned());
    }
    let encoder = suite.encoder();
    let shown: Result<Vec<ShownRequest>> =
        asked.arguments.iter().zip(&requests).map(|(texts, request)| one(encoder, texts, request)).collect();
    let title = format!("{}, document {}", planned.name(), document.id);
    Ok(Shown { title, requests: shown?, warnings })
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "{}: warning: {warning}", self.title)?;
        }
        for (index, request) in self.requests.iter().enumerate() {
            writeln!(f, "{}, request {} of {}: {}", self.title, index + 1, self.requests.len(), request.summary)?;
            writeln!(f, "{}", request.text)?;
            for warning in &request.warnings {
                writeln!(f, "  warning: {warning}")?;
            }
        }
        Ok(())
    }
}

/// Whether the prompt is the same with and without the beginning of an answer.
fn opens_no_answer(suite: &Suite<'_>, key: Key) -> Result<bool> {
    let Some(renderer) = suite.renderer().filter(|_| suite.options().format != Format::Plain) else {
        return Ok(false);
    };
    let Some((messages, Ending::Answer)) = suite.conversation(key)? else { return Ok(false) };
    let render = |ending: Ending| match renderer.render(&messages, ending) {
        Ok(text) => Ok(Some(text)),
        Err(RenderError::Raised(_)) => Ok(None),
        Err(RenderError::Failed(error)) => Err(error),
    };
    let open = render(Ending::Answer)?;
    Ok(open.is_some() && open == render(Ending::Closed)?)
}

fn one(encoder: &Encoder<'_>, texts: &Argument, request: &Request) -> Result<ShownRequest> {
    match (texts, request) {
        (Argument::Pair { context, continuation }, Request::Score(scored)) => {
            pair(encoder, context, continuation, scored)
        }
        (Argument::Whole { text }, Request::Rolling { windows }) => whole(encoder, text, windows),
        (Argument::Prompt { context, .. }, Request::Generate { context: ids, dropped, tokens, .. }) => {
            let all = encoder.encode(context)?;
            let mut warnings = Vec::new();
            repeated_begin(encoder, &all, &mut warnings);
            cut(*dropped, &mut warnings);
            Ok(ShownRequest {
                summary: format!("reads {}, writes at most {tokens}", count(ids.len())),
                text: marked(encoder, context, &all, None)?,
                warnings,
            })
        }
        _ => Ok(ShownRequest { summary: String::new(), text: String::new(), warnings: Vec::new() }),
    }
}

fn pair(encoder: &Encoder<'_>, context: &str, continuation: &str, scored: &Scored) -> Result<ShownRequest> {
    let (ids, target) = encoder.pair(context, continuation)?;
    let text = format!("{context}{continuation}");
    let mut warnings = Vec::new();
    let (kept, moved) = split_trailing_space(context);
    let whole = if kept.is_empty() && moved.is_empty() {
        ids.iter().chain(&target).copied().collect()
    } else {
        encoder.encode(&text)?
    };
    if !moved.is_empty() {
        warnings.push(format!("{moved:?} at the end of the context is scored as the beginning of the continuation"));
    }
    if !whole.starts_with(&ids) {
        warnings.push(
            "a token reaches across the boundary: the context alone has other tokens than in front of the continuation"
                .to_owned(),
        );
    }
    if target.is_empty() {
        warnings.push("nothing is scored: the continuation has no token of its own".to_owned());
    }
    repeated_begin(encoder, &ids, &mut warnings);
    cut(scored.dropped, &mut warnings);
    Ok(ShownRequest {
        summary: format!("reads {}, scores {}", count(scored.context.len()), count(scored.continuation.len())),
        text: marked(encoder, &text, &whole, Some(ids.len()))?,
        warnings,
    })
}

fn whole(encoder: &Encoder<'_>, text: &str, windows: &[Scored]) -> Result<ShownRequest> {
    let ids = encoder.encode(text)?;
    let mut warnings = Vec::new();
    let begins: Vec<u32> =
        windows.first().into_iter().flat_map(|w| w.context.iter().chain(&w.continuation)).copied().collect();
    repeated_begin(encoder, &begins, &mut warnings);
    let all: Vec<u32> = windows.first().into_iter().flat_map(|window| window.context.clone()).chain(ids).collect();
    let plural = if windows.len() == 1 { "" } else { "s" };
    Ok(ShownRequest {
        summary: format!("scores {} in {} window{plural}", count(all.len().saturating_sub(1)), windows.len()),
        text: marked(encoder, text, &all, Some(1))?,
        warnings,
    })
}

fn repeated_begin(encoder: &Encoder<'_>, ids: &[u32], warnings: &mut Vec<String>) {
    if let ([first, second, ..], Some(begin)) = (ids, encoder.tokenizer().special().bos)
        && *first == begin
        && *second == begin
    {
        warnings.push("the text begins with the begin-of-text token twice".to_owned());
    }
}

fn cut(dropped: usize, warnings: &mut Vec<String>) {
    if dropped > 0 {
        warnings.push(format!("the first {} of the context are cut, because the model reads no more", count(dropped)));
    }
}

fn count(tokens: usize) -> String {
    format!("{tokens} token{}", if tokens == 1 { "" } else { "s" })
}

/// The text, token by token; `boundary` tokens are read and not scored.
fn marked(encoder: &Encoder<'_>, text: &str, ids: &[u32], boundary: Option<usize>) -> Result<String> {
    let tokenizer = encoder.tokenizer();
    let spans = tokenizer.encode_spans(text)?;
    let letters: Vec<char> = text.chars().collect();
    // What stands in front of the text's own tokens has no characters in it.
    let before = ids.len().saturating_sub(spans.len());
    let mut shown = String::new();
    let mut end = 0;
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            shown.push(if boundary == Some(index) { BOUNDARY } else { BETWEEN });
        }
        let Some((_, Range { start, end: next })) = index.checked_sub(before).and_then(|at| spans.get(at)) else {
            shown += &tokenizer.spelling(*id).unwrap_or_default();
            continue;
        };
        if *next <= end && next > start {
            // Another part of a character that several tokens share.
            shown.push('…');
        }
        for letter in &letters[(*start).max(end).min(letters.len())..(*next).min(letters.len())] {
            match letter {
                '\n' => shown.push_str("↵\n"),
                letter => shown.push(*letter),
            }
        }
        end = end.max(*next);
    }
    if boundary == Some(ids.len()) {
        shown.push(BOUNDARY);
    }
    Ok(shown)
}
