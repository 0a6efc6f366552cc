//! The chat templates of a tokenizer, ready to render: what evaluation and the server have in common.

use std::collections::BTreeMap;

use psann_core::{Result, Tokenizer};

use super::{ChatTemplate, Clock, Conversation, Rendered, Rendering, select, special_tokens};

/// The chat templates of a tokenizer with its special tokens.
#[derive(Debug)]
pub struct Templates {
    /// For conversations of every kind.
    default: ChatTemplate,
    /// For conversations with tools: a template of their own where there is one.
    tools: ChatTemplate,
    special_tokens: BTreeMap<String, String>,
    made: Clock,
}

impl Templates {
    /// Those of `named` (name, text) that the rules of selection take, with the special tokens of `tokenizer`.
    ///
    /// # Errors
    /// When there is none, or one cannot be compiled.
    pub fn new<'a>(
        named: &(impl IntoIterator<Item = (&'a str, &'a str)> + Clone),
        tokenizer: &dyn Tokenizer,
    ) -> Result<Self> {
        let template = |tools| ChatTemplate::new(select(named.clone(), None, tools)?);
        let (default, tools) = (template(false)?, template(true)?);
        Ok(Self { default, tools, special_tokens: special_tokens(tokenizer), made: Clock::now() })
    }

    /// When this was made: what a template writes as the date in prompts that are to stay the same.
    pub fn made(&self) -> Clock {
        self.made
    }

    /// The text of the template for conversations of every kind.
    pub fn source(&self) -> &str {
        self.default.source()
    }

    /// Renders a conversation with the special tokens of the tokenizer, in place of its own.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render(&self, mut conversation: Conversation, how: Rendering) -> Result<Rendered> {
        conversation.special_tokens.clone_from(&self.special_tokens);
        let template = if conversation.tools.is_some() { &self.tools } else { &self.default };
        template.render(&conversation, how)
    }
}
