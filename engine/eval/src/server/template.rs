//! [`RenderChat`]: from a conversation to the text that a model reads. The server takes whatever renders: it knows the
//! rules of the interface, not those of templates. [`Templates`] renders with the chat templates of a tokenizer.

use std::collections::BTreeMap;

use psann_core::{Result, Tokenizer};
use serde_json::{Map, Value};

use crate::chat::{ChatTemplate, Clock, Conversation, Rendering, select, special_tokens};

/// A conversation to render.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Its messages in order. Each is an object with a text `role`; a `content` that came in parts is one text here, and
    /// other keys (`name`, `tool_calls`, …) stand as they came.
    pub messages: Vec<Value>,
    /// Descriptions of tools, as they came.
    pub tools: Option<Vec<Value>>,
    /// Whether the text ends with the beginning of a new reply.
    pub add_generation_prompt: bool,
    /// Whether the text ends within the last message, which is to be continued.
    pub continue_final_message: bool,
    /// Further variables of the template.
    pub kwargs: Map<String, Value>,
}

/// Renders conversations. Used from several threads at once.
pub trait RenderChat: Send + Sync {
    /// The text that the model reads, special tokens spelled out.
    ///
    /// # Errors
    /// When the template refuses the conversation.
    fn render(&self, request: &ChatRequest) -> Result<String>;

    /// The template's own text, for clients that render themselves.
    fn source(&self) -> Option<&str> {
        None
    }
}

/// The chat templates of a tokenizer.
pub struct Templates {
    /// For conversations of every kind.
    default: ChatTemplate,
    /// For conversations with tools, where there is a template of their own.
    tools: ChatTemplate,
    special_tokens: BTreeMap<String, String>,
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
        Ok(Self { default: template(false)?, tools: template(true)?, special_tokens: special_tokens(tokenizer) })
    }
}

impl RenderChat for Templates {
    fn render(&self, request: &ChatRequest) -> Result<String> {
        let mut conversation = Conversation::new(request.messages.clone(), Clock::now());
        conversation.special_tokens.clone_from(&self.special_tokens);
        conversation.tools.clone_from(&request.tools);
        conversation.variables.clone_from(&request.kwargs);
        let how = match (request.continue_final_message, request.add_generation_prompt) {
            (true, _) => Rendering::Continue,
            (false, true) => Rendering::Prompt,
            (false, false) => Rendering::Plain,
        };
        let template = if request.tools.is_some() { &self.tools } else { &self.default };
        Ok(template.render(&conversation, how)?.text)
    }

    fn source(&self) -> Option<&str> {
        Some(self.default.source())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::ByteTokenizer;

    #[test]
    fn conversations_with_tools_have_a_template_of_their_own() {
        let named = [
            ("default", "{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}"),
            ("tool_use", "{{ tools[0].name }}{{ extra }}"),
        ];
        let templates = Templates::new(&named, &ByteTokenizer).unwrap();
        let mut request = ChatRequest {
            messages: vec![json!({ "role": "user", "content": "hi" })],
            tools: None,
            add_generation_prompt: true,
            continue_final_message: false,
            kwargs: Map::new(),
        };
        assert_eq!(templates.render(&request).unwrap(), "hi>");
        request.add_generation_prompt = false;
        assert_eq!(templates.render(&request).unwrap(), "hi");
        request.tools = Some(vec![json!({ "name": "clock" })]);
        request.kwargs.insert("extra".into(), json!("!"));
        assert_eq!(templates.render(&request).unwrap(), "clock!");
        assert_eq!(templates.source(), Some(named[0].1));
        assert!(Templates::new(&[], &ByteTokenizer).is_err());
    }
}
