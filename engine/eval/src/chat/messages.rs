//! What happens to messages before a template sees them, and how the last one is left open.

use psann_core::{Error, Result};
use serde_json::{Map, Value};

use crate::python::text::{split_trailing_space, strip};

/// Names that a message's reasoning goes by; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The key of the text that is continued.
const CONTENT: &str = "content";

/// Stands at the end of the last message while it is rendered, and is cut off again with all that follows. The space
/// tells whether the template removes white space from the end of a message.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Messages without keys that are null, and with their reasoning under the names that templates read.
pub fn prepare(messages: &[Value]) -> Result<Vec<Value>> {
    let prepared = messages.iter().enumerate().map(|(index, message)| {
        let message = message.as_object().ok_or_else(|| {
            Error::usage(format!("message {} of the conversation is no object", index + 1))
                .hint(r#"a message looks like {"role": "user", "content": "…"}"#)
        })?;
        let mut message: Map<String, Value> = message
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if let Some(reasoning) = REASONING.iter().find_map(|key| message.get(*key)).cloned() {
            let mut aliased = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
            aliased.extend(message);
            aliased.insert("reasoning_content".to_owned(), reasoning);
            message = aliased;
        }
        Ok(Value::Object(message))
    });
    prepared.collect()
}

/// Puts the tag behind the last message's text, for a template of `source`; returns that text without the tag.
pub fn tag_last(messages: &mut [Value], source: &str) -> Result<String> {
    let cannot = |why: &str| {
        Error::usage(format!("the last message cannot be continued: {why}"))
            .hint("end the conversation with a message that has text in its `content`")
    };
    if !source.contains(CONTENT) {
        return Err(cannot("the chat template does not read `content`"));
    }
    let text = match messages.last_mut().and_then(|message| message.get_mut(CONTENT)) {
        None => return Err(cannot("it has no `content`")),
        Some(Value::Array(parts)) => {
            let part = parts.iter_mut().rev().find_map(|part| part.get_mut("text"));
            part.ok_or_else(|| cannot("no part of its `content` has a `text`"))?
        }
        Some(content) => content,
    };
    match text {
        Value::String(text) => {
            let before = text.clone();
            text.push_str(TAG);
            Ok(before)
        }
        _ => Err(cannot("its `content` is no text")),
    }
}

/// The byte of `rendered` where the last message, whose text is `last`, goes on.
pub fn continuation(rendered: &str, last: &str) -> Result<usize> {
    let bare = TAG.trim_end();
    match rendered.rfind(bare) {
        Some(at) if rendered.contains(strip(last)) => {
            let kept = &rendered[..at];
            Ok(if rendered[at..].starts_with(TAG) { at } else { split_trailing_space(kept).0.len() })
        }
        _ => Err(Error::usage("the last message cannot be continued: the chat template does not show it as it is")
            .hint("the template leaves out or rewrites parts of messages; continue a message that it keeps")),
    }
}
