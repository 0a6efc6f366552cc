//! Mistakes that the parser finds.

use rhai::{Engine, LexError, ParseErrorType, Position};

use super::outline::Outline;
use super::{Explanation, lower, nearest};
use crate::plugins;

pub(super) fn explain(engine: &Engine, text: &str, kind: &ParseErrorType, position: Position) -> Explanation {
    use ParseErrorType as P;
    match kind {
        P::UnexpectedEOF => Explanation::new("the text ends in the middle of an expression", "it ends here"),
        P::BadInput(error) => lexical(error),
        P::UnknownOperator(operator) => Explanation::new(format!("`{operator}` is no operator"), "unknown"),
        P::MissingToken(token, purpose) => missing(token, purpose, &text[crate::text::offset(text, position)..]),
        P::AssignmentToConstant(name) => {
            Explanation::new(format!("`{name}` is a constant and cannot change"), "changed here")
                .help("declare it with `let` instead of `const`")
        }
        P::DuplicatedProperty(name) => Explanation::new(format!("`{name}` is given twice in one map"), "the second"),
        P::VariableUndefined(name) => variable(engine, text, name, position),
        P::ModuleUndefined(name) => module(engine, text, name),
        P::Reserved(word) if word.starts_with(char::is_alphabetic) => {
            Explanation::new(format!("`{word}` is a word that the recipe language keeps for itself"), "reserved").help(
                format!("as a key, put it in quotes: `\"{word}\": …`; for a variable or function, take another name"),
            )
        }
        P::Reserved(symbol) => Explanation::new(format!("`{symbol}` is no operator"), "unknown"),
        P::ExprTooDeep => {
            Explanation::new("this expression is nested too deep", "here").help("give parts of it names with `let`")
        }
        P::PropertyExpected => Explanation::new("expected the name of an option", "here"),
        P::WrongDocComment => Explanation::new("`///` may only stand directly before a function", "here")
            .help("write `//` for other comments"),
        other => Explanation::new(lower(&other.to_string()), "here"),
    }
}

fn lexical(error: &LexError) -> Explanation {
    match error {
        LexError::UnterminatedString => Explanation::new("this string does not end", "it begins here")
            .help("close it on the same line; a text over several lines stands in backticks"),
        LexError::UnexpectedInput(text) => {
            let explanation = Explanation::new(format!("unexpected `{text}`"), "here");
            if text.is_ascii() {
                explanation
            } else {
                explanation.help("names are written with `a` to `z`, digits and `_`; other text stands in quotes")
            }
        }
        LexError::ImproperSymbol(symbol, _) if symbol == "eval" => {
            Explanation::new("`eval` is switched off in recipes", "here")
        }
        LexError::ImproperSymbol(symbol, hint) if hint.is_empty() => {
            Explanation::new(format!("unexpected `{symbol}`"), "here")
        }
        LexError::MalformedEscapeSequence(text) => {
            Explanation::new(format!("`{text}` is no escape sequence"), "here").help("write `\\\\` for a backslash")
        }
        other => Explanation::new(lower(&other.to_string()), "here"),
    }
}

fn missing(token: &str, purpose: &str, found: &str) -> Explanation {
    let message = format!("expected `{token}` {}", lower(purpose));
    let explanation = Explanation::new(message, format!("`{token}` is missing before this"));
    match token {
        _ if found.starts_with("==") => explanation.help("`=` gives a value, `==` compares"),
        ":" if found.starts_with('=') => explanation.help("in a map write `name: value`"),
        "," => explanation.help("options and elements are separated by commas"),
        _ => explanation,
    }
}

fn variable(engine: &Engine, text: &str, name: &str, position: Position) -> Explanation {
    let explanation = Explanation::new(format!("unknown variable `{name}`"), "not defined here");
    let outline = Outline::of(engine, text);
    let same = outline.variables.iter().find(|variable| variable.name == name && variable.top_level);
    if let Some(variable) = same {
        if outline.in_function(position) {
            return explanation.help(format!(
                "a `fn` does not see variables from outside; pass `{name}` as an argument, or write `const {name} = …` and `global::{name}`"
            ));
        }
        if variable.position > position {
            return explanation.help(format!("`{name}` is defined further down"));
        }
    }
    if plugins::kinds().any(|kind| kind.word() == name) {
        return explanation.help(format!("write `{name}::NAME(…)`  (`psann plugin list` shows all)"));
    }
    if matches!(name, "None" | "none" | "undefined") {
        return explanation.help("write `()` for nothing");
    }
    // The same name, declared in a block or in a line at the prompt that failed, is no suggestion.
    let others = outline.variables.iter().map(|variable| variable.name.as_str()).filter(|other| *other != name);
    match nearest(name, others) {
        Some(help) => explanation.help(help),
        None => explanation.help(format!("define it first: `let {name} = …`; text stands in quotes")),
    }
}

fn module(engine: &Engine, text: &str, name: &str) -> Explanation {
    let explanation = Explanation::new(format!("nothing is called `{name}::`"), "unknown");
    let outline = Outline::of(engine, text);
    let kinds: Vec<&str> = plugins::kinds().map(psann_core::registry::Kind::word).collect();
    let known = kinds.iter().copied().chain(outline.imports.iter().map(String::as_str));
    match nearest(name, known) {
        Some(help) => explanation.help(help),
        None => explanation.help(format!("import it first: `import \"lib/{name}\" as {name};`")),
    }
}
