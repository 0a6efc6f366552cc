//! The tag `{% generation %}`: it marks what the assistant wrote, so that training can tell it from the rest.
//!
//! The engine does not know the tag. It becomes a filter block, with a scope of its own as in Jinja, and the filter notes
//! how much of the text stood there before the block. That is what transformers notes too, and it leaves the text alone.
//! It is wrong where the block is part of something that is written later (a macro, a `{% set %}` block): then the
//! conversation is rendered once more with marks around blocks, which show where they came to stand.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Environment, Error, ErrorKind, Value};

use super::clock::Clock;
use super::engine;

/// The filter's name.
const FILTER: &str = "generation";

/// The template with generation tags as filter blocks, on the same lines and with the same signs for white space.
pub fn rewrite(source: &str) -> String {
    let mut written = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some(start) = next_tag(rest) {
        written.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = tag_length(rest);
        let tag = &rest[..length];
        let name = tag
            .strip_prefix("{%")
            .and_then(|inner| inner.strip_suffix("%}"))
            .map(|inner| inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim());
        match name {
            Some("generation") => written.push_str(&tag.replacen("generation", "filter generation %}{% with", 1)),
            Some("endgeneration") => written.push_str(&tag.replacen("endgeneration", "endwith %}{% endfilter", 1)),
            _ => written.push_str(tag),
        }
        rest = &rest[length..];
        if name == Some("raw") {
            let length = raw_length(rest);
            written.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    written + rest
}

/// Where the next tag, expression or comment begins.
fn next_tag(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| text[at + 1..].starts_with(['{', '%', '#']))
}

/// The bytes of the tag, expression or comment at the start of `text`; all of them where it does not end.
fn tag_length(text: &str) -> usize {
    let end = match &text[..2] {
        "{#" => return text[2..].find("#}").map_or(text.len(), |at| at + 4),
        "{%" => "%}",
        _ => "}}",
    };
    let (mut quote, mut escaped, mut depth) = (None, false, 0_usize);
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if depth == 0 && text[at..].starts_with(end) => return at + 2,
            None => match c {
                '"' | '\'' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    text.len()
}

/// The bytes before `{% endraw %}`.
fn raw_length(text: &str) -> usize {
    let ends = |at: &usize| {
        let inner = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
        inner
            .strip_prefix("endraw")
            .is_some_and(|rest| rest.trim_start().trim_start_matches(['-', '+']).starts_with("%}"))
    };
    text.match_indices("{%").map(|(at, _)| at).find(ends).unwrap_or(text.len())
}

/// Renders; returns the text and the characters of generation blocks.
pub fn render(
    environment: &Environment<'static>,
    context: &Value,
    clock: Clock,
) -> Result<(String, Vec<Range<usize>>), Error> {
    engine::with_stack(|| render_all(environment, context, clock))
}

fn render_all(
    environment: &Environment<'static>,
    context: &Value,
    clock: Clock,
) -> Result<(String, Vec<Range<usize>>), Error> {
    let (text, blocks) = render_once(environment, context, clock, None)?;
    let in_place = |(start, block): &(usize, String)| text[..].get(*start..start + block.len()) == Some(block.as_str());
    if !blocks.iter().all(in_place)
        && let Some(marks) = unused(&text)
    {
        let (marked, _) = render_once(environment, context, clock, Some(marks))?;
        let (unmarked, spans) = without_marks(&marked, marks);
        // A template that works on the text of a block may see the marks; then only what was noted is left.
        if unmarked == text {
            return Ok((text, spans));
        }
    }
    let spans = blocks.iter().map(|(start, block)| {
        let start = text.get(..*start).unwrap_or(&text).chars().count();
        start..start + block.chars().count()
    });
    let spans = spans.collect();
    Ok((text, spans))
}

/// Renders, with each block between `marks` if they are given; returns the text, and for each block the bytes before it
/// and its text.
fn render_once(
    environment: &Environment<'static>,
    context: &Value,
    clock: Clock,
    marks: Option<[char; 2]>,
) -> Result<(String, Vec<(usize, String)>), Error> {
    let mut environment = environment.clone();
    let written = Arc::new(AtomicUsize::new(0));
    let blocks = Arc::new(Mutex::new(Vec::new()));
    let (before, found) = (written.clone(), blocks.clone());
    environment.add_filter(FILTER, move |block: String| {
        found.lock().unwrap_or_else(PoisonError::into_inner).push((before.load(Ordering::Relaxed), block.clone()));
        marks.map_or(block.clone(), |[open, close]| format!("{open}{block}{close}"))
    });
    environment.add_function("strftime_now", move |format: &str| clock.strftime(format));
    let mut output = Counted { bytes: Vec::new(), written };
    environment.get_template(engine::NAME)?.render_captured_to(context.clone(), &mut output)?;
    let text = String::from_utf8(output.bytes)
        .map_err(|e| Error::new(ErrorKind::WriteFailure, "the text is no UTF-8").with_source(e))?;
    let blocks = std::mem::take(&mut *blocks.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((text, blocks))
}

/// Output that tells how much of it there is.
struct Counted {
    bytes: Vec<u8>,
    written: Arc<AtomicUsize>,
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.written.store(self.bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two characters for private use that are not in `text`.
fn unused(text: &str) -> Option<[char; 2]> {
    let mut free = ('\u{E000}'..='\u{F8FF}').filter(|c| !text.contains(*c));
    Some([free.next()?, free.next()?])
}

/// The text without marks, and the characters that stood between them, in order of their ends.
fn without_marks(marked: &str, [open, close]: [char; 2]) -> (String, Vec<Range<usize>>) {
    let (mut text, mut length) = (String::with_capacity(marked.len()), 0);
    let (mut starts, mut spans) = (Vec::new(), Vec::new());
    for c in marked.chars() {
        if c == open {
            starts.push(length);
        } else if c == close {
            spans.extend(starts.pop().map(|start| start..length));
        } else {
            text.push(c);
            length += 1;
        }
    }
    (text, spans)
}
