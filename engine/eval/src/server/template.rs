//! [`RenderChat`]: from a conversation to the text that a model reads. The server takes whatever renders: it knows the
//! rules of the interface, not those of templates.

use psann_core::Result;
use serde_json::{Map, Value};

use crate::chat::{Clock, Conversation, Rendering, Templates};

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

impl RenderChat for Templates {
    fn render(&self, request: &ChatRequest) -> Result<String> {
        let mut conversation = Conversation::new(request.messages.clone(), Clock::now());
        conversation.tools.clone_from(&request.tools);
        conversation.variables.clone_from(&request.kwargs);
        let how = match (request.continue_final_message, request.add_generation_prompt) {
            (true, _) => Rendering::Continue,
            (false, true) => Rendering::Prompt,
            (false, false) => Rendering::Plain,
        };
        Ok(Templates::render(self, conversation, how)?.text)
    }

    fn source(&self) -> Option<&str> {
        Some(Templates::source(self))
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
        assert_eq!(RenderChat::render(&templates, &request).unwrap(), "hi>");
        request.add_generation_prompt = false;
        assert_eq!(RenderChat::render(&templates, &request).unwrap(), "hi");
        request.tools = Some(vec![json!({ "name": "clock" })]);
        request.kwargs.insert("extra".into(), json!("!"));
        assert_eq!(RenderChat::render(&templates, &request).unwrap(), "clock!");
        assert_eq!(RenderChat::source(&templates), Some(named[0].1));
        assert!(Templates::new(&[], &ByteTokenizer).is_err());
    }
}
