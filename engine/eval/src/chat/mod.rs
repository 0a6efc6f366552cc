//! Chat templates: from a conversation to the text that a model reads.
//!
//! A chat template is a small Jinja program that comes with a tokenizer. What it makes must be exactly what the Python
//! tools make of it, or a model is asked in a language that it did not learn. The contract is that of transformers 5.23:
//! which variables a template finds, which filters and functions it has, what happens to a conversation first, where
//! the places that the assistant wrote are. The engine is minijinja; what Python does otherwise is added here.
//!
//! | module | what |
//! |---|---|
//! | [`failure`] | what went wrong in a template, for those who must tell a refusal from a mistake |
//! | [`clock`] | the date and time that templates write |
//! | [`mask`] | which tokens of a rendered conversation the assistant wrote |
//! | [`select`] | which of a tokenizer's templates to use |
//! | `templates` | all templates of a tokenizer, with its special tokens |
//! | `engine`, `values`, `json` | the template engine with the ways of Python |
//! | `generation` | the tag `{% generation %}` and its places in the text |
//! | `messages` | what happens to messages before they are rendered |
//!
//! Templates are programs of strangers: each has a budget of work, cannot reach files, and cannot recurse without end.

pub mod clock;
mod engine;
pub mod failure;
mod generation;
mod json;
pub mod mask;
mod messages;
pub mod select;
mod templates;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::Environment;
use psann_core::{Error, Result, Tokenizer};
use serde_json::{Map, Value};

pub use clock::Clock;
pub use failure::{FailureKind, TemplateFailure};
pub use mask::{MaskRule, assistant_mask};
pub use select::select;
pub use templates::Templates;

/// A compiled chat template; many threads may render with it.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
}

/// What is rendered, and what the template may know beside it.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// Objects with `role` and `content`, and whatever else the template reads.
    pub messages: Vec<Value>,
    /// Descriptions of tools that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Documents that the model may quote: objects with `title` and `text`.
    pub documents: Option<Vec<Value>>,
    /// Further variables, such as `enable_thinking`. They stand before special tokens of the same name.
    pub variables: Map<String, Value>,
    /// Spelling of special tokens by name: `bos_token`, `eos_token`, …
    pub special_tokens: BTreeMap<String, String>,
    /// What `strftime_now` writes.
    pub clock: Clock,
}

impl Conversation {
    /// The messages alone.
    pub fn new(messages: Vec<Value>, clock: Clock) -> Self {
        let (tools, documents) = (None, None);
        let (variables, special_tokens) = (Map::new(), BTreeMap::new());
        Self { messages, tools, documents, variables, special_tokens, clock }
    }

    /// With the special tokens of `tokenizer`.
    #[must_use]
    pub fn with_special_tokens(mut self, tokenizer: &dyn Tokenizer) -> Self {
        self.special_tokens = special_tokens(tokenizer);
        self
    }
}

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// With its last message.
    Plain,
    /// With the header of the assistant's next message (`add_generation_prompt`).
    Prompt,
    /// In the middle of the last message, so that the model goes on with it (`continue_final_message`).
    Continue,
}

/// A conversation as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What the model reads. Special tokens are spelled out, so nothing is added around it.
    pub text: String,
    /// Characters (not bytes) of `text` that `{% generation %}` blocks wrote, in order of the blocks' ends, empty blocks
    /// included.
    pub generation_spans: Vec<Range<usize>>,
}

/// Variables that belong to the rendering itself.
const OWN: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// When it is no template: the error names the line.
    pub fn new(source: &str) -> Result<Self> {
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let environment = engine::environment(generation::rewrite(&source)).map_err(|e| failure::compiling(&e))?;
        Ok(Self { environment, source })
    }

    /// Renders `conversation`.
    ///
    /// # Errors
    /// When the conversation cannot be rendered at all, and when the template fails or refuses it: the latter has a
    /// [`TemplateFailure`] beneath.
    pub fn render(&self, conversation: &Conversation, how: Rendering) -> Result<Rendered> {
        if conversation.messages.is_empty() {
            return Err(Error::usage("the conversation has no messages").hint("a chat template needs at least one"));
        }
        let mut messages = messages::prepare(&conversation.messages)?;
        let tagged = match how {
            Rendering::Continue => Some(messages::tag_last(&mut messages, &self.source)?),
            Rendering::Plain | Rendering::Prompt => None,
        };
        let context = context(conversation, &messages, how)?;
        let (mut text, mut spans) =
            generation::render(&self.environment, &context, conversation.clock).map_err(|e| failure::rendering(&e))?;
        if let Some(last) = tagged {
            text.truncate(messages::continuation(&text, &last)?);
            let length = text.chars().count();
            spans.retain(|span| span.start <= length);
            for span in &mut spans {
                span.end = span.end.min(length);
            }
        }
        Ok(Rendered { text, generation_spans: spans })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Spelling of a tokenizer's special tokens under the names that templates use.
pub fn special_tokens(tokenizer: &dyn Tokenizer) -> BTreeMap<String, String> {
    let special = tokenizer.special();
    let ids = [
        ("bos_token", special.bos),
        ("eos_token", special.eos),
        ("pad_token", special.pad),
        ("unk_token", special.unknown),
    ];
    ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), tokenizer.spelling(id?)?))).collect()
}

/// The template's variables.
fn context(conversation: &Conversation, messages: &[Value], how: Rendering) -> Result<minijinja::Value> {
    if let Some(name) = OWN.iter().find(|name| conversation.variables.contains_key(**name)) {
        return Err(Error::usage(format!("`{name}` is no variable to give to a chat template"))
            .hint("it is set from the conversation; name the variable otherwise"));
    }
    let list = |values: &Option<Vec<Value>>| {
        values.as_ref().map_or(minijinja::Value::from(()), |values| values.iter().map(engine::value).collect())
    };
    let tokens = conversation.special_tokens.iter().map(|(name, token)| (name.as_str(), token.as_str().into()));
    let given = conversation.variables.iter().map(|(name, value)| (name.as_str(), engine::value(value)));
    let own = [
        ("messages", messages.iter().map(engine::value).collect()),
        ("tools", list(&conversation.tools)),
        ("documents", list(&conversation.documents)),
        ("add_generation_prompt", (how == Rendering::Prompt).into()),
    ];
    Ok(minijinja::Value::from_pairs(tokens.chain(given).chain(own)))
}
