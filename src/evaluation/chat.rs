//! The tokenizer's chat template as evaluation uses it.

use std::path::Path;

use psann_core::{Error, Result, Tokenizer};
use psann_data::tokenizer::TextTokenizer;
use psann_eval::chat::{
    ChatTemplate, Clock, Conversation, FailureKind, Rendering, TemplateFailure, select, special_tokens,
};
use psann_eval::harness::{ChatRenderer, Ending, Message, RenderError};
use serde_json::json;

/// A chat template with the special tokens of its tokenizer.
pub struct Renderer {
    template: ChatTemplate,
    special_tokens: std::collections::BTreeMap<String, String>,
    clock: Clock,
}

impl Renderer {
    /// The template in `file`, or else the tokenizer's own.
    ///
    /// # Errors
    /// When there is none, or it cannot be compiled.
    pub fn new(tokenizer: &TextTokenizer, file: Option<&Path>) -> Result<Self> {
        let own;
        let source = if let Some(file) = file {
            own = std::fs::read_to_string(file)
                .map_err(|e| Error::new(format!("cannot read `{}`", file.display())).because(e))?;
            own.as_str()
        } else {
            let named = tokenizer.chat_templates().iter().map(|one| (one.name.as_str(), one.text.as_str()));
            select(named, None, false)?
        };
        let template = ChatTemplate::new(source)?;
        Ok(Self { template, special_tokens: special_tokens(tokenizer as &dyn Tokenizer), clock: Clock::now() })
    }

    /// As the harness wants it.
    pub fn as_chat(&self) -> &dyn ChatRenderer {
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        self.template.source()
    }
}

impl ChatRenderer for Renderer {
    fn render(&self, messages: &[Message], ending: Ending) -> std::result::Result<String, RenderError> {
        let messages =
            messages.iter().map(|message| json!({ "role": message.role.name(), "content": message.content })).collect();
        let mut conversation = Conversation::new(messages, self.clock);
        conversation.special_tokens.clone_from(&self.special_tokens);
        let how = match ending {
            Ending::Answer => Rendering::Prompt,
            Ending::Continued => Rendering::Continue,
            Ending::Closed => Rendering::Plain,
        };
        self.template.render(&conversation, how).map(|rendered| rendered.text).map_err(
            |error| match TemplateFailure::of(&error) {
                Some(TemplateFailure { kind: FailureKind::Raised, message, .. }) => {
                    RenderError::Raised(message.clone())
                }
                _ => RenderError::Failed(error),
            },
        )
    }
}
