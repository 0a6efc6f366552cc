//! `POST /v1/chat/completions`: continues conversations, rendered by the model's chat template.
//!
//! A last message of the assistant is the beginning of the reply, which the model continues; no flag is needed for that,
//! since the clients that send one know of none.

use std::sync::Arc;

use psann_core::Tokenizer;
use serde_json::{Map, Value, json};

use super::Api;
use super::answer::{Answer, Form, Usage};
use super::engine::TokenScore;
use super::error::ApiError;
use super::fields::{Fields, describe};
use super::job::{Event, News};
use super::parameters::{MOST_SCORES, Parameters};
use super::spelling::{alternatives, finish_reason, said, token_text};
use super::template::ChatRequest;
use super::texts::{Prompt, Texts};

/// What a request asks for, understood.
#[derive(Debug)]
pub struct Chat {
    prompt: Prompt,
    parameters: Parameters,
    tokens: usize,
}

impl Chat {
    /// Understands a request's body.
    pub fn read(body: &Value, api: &Api) -> Result<Self, ApiError> {
        let fields = Fields::of(body)?;
        let mut parameters = Parameters::read(&fields, api)?;
        parameters.options.scores = scores(&fields)?;
        let tokens = match fields.whole("max_completion_tokens", 0..=u64::MAX)? {
            Some(tokens) => Some(tokens),
            None => fields.whole("max_tokens", 0..=u64::MAX)?,
        };
        let request = request(&fields)?;
        let Some(template) = &api.chat else {
            return Err(ApiError::invalid(
                "this model has no chat template; put a `chat_template.jinja`, or a `tokenizer_config.json` with a \
                 `chat_template`, beside its tokenizer, or use `/v1/completions`",
            ));
        };
        let text = template.render(&request).map_err(|error| ApiError::from(&error))?;
        let ids = api.encode(&text, false)?;
        if ids.len() > api.context {
            let message =
                format!("the conversation has {} tokens, more than the model's context of {}", ids.len(), api.context);
            return Err(ApiError::field("messages", message).code("context_length_exceeded"));
        }
        let tokens = tokens.map_or(api.max_tokens, |tokens| api.max_tokens.min(tokens as usize));
        Ok(Self { prompt: Prompt { ids, text: Some(text) }, parameters, tokens })
    }

    /// Queues its texts.
    pub fn start(self, api: &Api) -> Result<(Texts, Answer), ApiError> {
        let texts = Texts::start(api, std::slice::from_ref(&self.prompt), &self.parameters, self.tokens, false)?;
        let usage = Usage { prompt: self.prompt.ids.len(), completion: 0 };
        let scores = self.parameters.options.scores.is_some();
        let choices = (0..self.parameters.n).map(|_| Choice { scores, ..Choice::default() }).collect();
        let form = ChatForm { tokenizer: Arc::clone(&api.tokenizer), choices };
        Ok((texts, Answer::new(api, "chatcmpl", Box::new(form), &self.parameters, usage)))
    }
}

/// `logprobs` switches scores on, `top_logprobs` says how many alternatives there are.
fn scores(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.whole("top_logprobs", 0..=MOST_SCORES)?;
    if top.is_some_and(|top| top > 0) && !wanted {
        return Err(ApiError::field("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
    }
    Ok(wanted.then_some(top.unwrap_or(0) as usize))
}

fn request(fields: &Fields<'_>) -> Result<ChatRequest, ApiError> {
    let list = fields.list("messages")?.ok_or_else(|| ApiError::field("messages", "`messages` is missing"))?;
    if list.is_empty() {
        return Err(ApiError::field("messages", "`messages` has no message; it needs at least one"));
    }
    let messages: Vec<Value> =
        list.iter().enumerate().map(|(place, message)| self::message(place, message)).collect::<Result<_, _>>()?;
    let prefilled = messages.last().is_some_and(|message| message["role"] == "assistant");
    let prompt = fields.flag("add_generation_prompt")?;
    let continued = fields.flag("continue_final_message")?.unwrap_or(prefilled && prompt != Some(true));
    let prompt = prompt.unwrap_or(!continued);
    if continued && prompt {
        let message = "`continue_final_message` and `add_generation_prompt` cannot both be true: a reply is either \
                       continued or begun";
        return Err(ApiError::field("continue_final_message", message));
    }
    Ok(ChatRequest {
        messages,
        tools: fields.list("tools")?.cloned(),
        add_generation_prompt: prompt,
        continue_final_message: continued,
        kwargs: fields.object("chat_template_kwargs")?.cloned().unwrap_or_default(),
    })
}

/// A message with its content as one text.
fn message(place: usize, message: &Value) -> Result<Value, ApiError> {
    let wrong = |key: &str, expected: &str, found: String| {
        ApiError::field("messages", format!("`messages[{place}]{key}` must be {expected}, found {found}"))
    };
    let Value::Object(object) = message else { return Err(wrong("", "an object", describe(message))) };
    match object.get("role") {
        Some(Value::String(_)) => {}
        other => return Err(wrong(".role", "a string", other.map_or("nothing".into(), describe))),
    }
    let mut object = object.clone();
    match object.get("content") {
        // A call of a tool has no content.
        None | Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (number, part) in parts.iter().enumerate() {
                match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text"), Some(piece)) => text.push_str(piece),
                    (kind, _) => {
                        let found = kind.map_or("something else".into(), |kind| format!("one of type `{kind}`"));
                        return Err(wrong(
                            &format!(".content[{number}]"),
                            "a part of type `text` with a `text`",
                            found,
                        ));
                    }
                }
            }
            object.insert("content".into(), text.into());
        }
        Some(other) => return Err(wrong(".content", "a string or a list of text parts", describe(other))),
    }
    Ok(Value::Object(object))
}

/// How chat completions look.
struct ChatForm {
    tokenizer: Arc<dyn Tokenizer>,
    choices: Vec<Choice>,
}

/// What was not told yet of a reply.
#[derive(Default)]
struct Choice {
    scores: bool,
    text: String,
    entries: Vec<Value>,
    finish: Option<&'static str>,
}

impl Choice {
    fn logprobs(&mut self) -> Value {
        if self.scores { json!({ "content": std::mem::take(&mut self.entries) }) } else { Value::Null }
    }
}

fn entry(tokenizer: &dyn Tokenizer, score: &TokenScore) -> Value {
    let one = |token: u32, text: &str, log_probability: f64| {
        let bytes = said(tokenizer, token).map(String::into_bytes);
        json!({ "token": text, "logprob": log_probability, "bytes": bytes })
    };
    let mut own = one(score.token, &token_text(tokenizer, score.token), score.log_probability);
    // Here the token itself is no alternative to itself, unless it is one of the likeliest.
    let shown = alternatives(tokenizer, score);
    let top = shown.iter().take(score.top.len()).map(|(token, text, value)| one(*token, text, *value));
    own["top_logprobs"] = top.collect();
    own
}

impl Form for ChatForm {
    fn object(&self, stream: bool) -> &'static str {
        if stream { "chat.completion.chunk" } else { "chat.completion" }
    }

    fn hear(&mut self, event: Event) {
        let Some(choice) = self.choices.get_mut(event.index) else { return };
        if let News::Text { score, piece, finish, .. } = event.news {
            choice.text.push_str(&piece);
            choice.entries.extend(score.map(|score| entry(self.tokenizer.as_ref(), &score)));
            choice.finish = finish.map(finish_reason);
        }
    }

    fn opening(&mut self) -> Vec<Value> {
        let role = |index| {
            let delta = json!({ "role": "assistant", "content": "" });
            json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null })
        };
        (0..self.choices.len()).map(role).collect()
    }

    fn part(&mut self, index: usize) -> Option<Value> {
        let choice = self.choices.get_mut(index)?;
        if choice.text.is_empty() && choice.entries.is_empty() && choice.finish.is_none() {
            return None;
        }
        let mut delta = Map::new();
        if !choice.text.is_empty() {
            delta.insert("content".into(), std::mem::take(&mut choice.text).into());
        }
        let logprobs = choice.logprobs();
        Some(json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": choice.finish }))
    }

    fn whole(&mut self) -> Vec<Value> {
        let whole = |(index, choice): (usize, &mut Choice)| {
            let message = json!({ "role": "assistant", "content": std::mem::take(&mut choice.text) });
            let logprobs = choice.logprobs();
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish })
        };
        self.choices.iter_mut().enumerate().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(body: &Value) -> Result<ChatRequest, String> {
        request(&Fields::of(body).unwrap()).map_err(|error| error.json()["error"]["message"].as_str().unwrap().into())
    }

    #[test]
    fn a_last_message_of_the_assistant_is_continued_unless_the_request_says_otherwise() {
        let flags = |more: Value, role: &str| {
            let mut body =
                json!({ "messages": [{ "role": "user", "content": "a" }, { "role": role, "content": "b" }] });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            understood(&body).map(|request| (request.add_generation_prompt, request.continue_final_message))
        };
        assert_eq!(flags(json!({}), "user"), Ok((true, false)));
        assert_eq!(flags(json!({}), "assistant"), Ok((false, true)));
        assert_eq!(flags(json!({ "add_generation_prompt": true }), "assistant"), Ok((true, false)));
        assert_eq!(flags(json!({ "add_generation_prompt": false }), "user"), Ok((false, false)));
        assert_eq!(flags(json!({ "continue_final_message": false }), "assistant"), Ok((true, false)));
        assert_eq!(flags(json!({ "continue_final_message": true }), "user"), Ok((false, true)));
        let both = json!({ "continue_final_message": true, "add_generation_prompt": true });
        assert!(flags(both, "assistant").unwrap_err().contains("cannot both be true"));
    }

    #[test]
    fn parts_of_text_are_one_text_and_other_keys_stand() {
        let parts = json!([{ "type": "text", "text": "one " }, { "type": "text", "text": "two" }]);
        let call = json!([{ "id": "1" }]);
        let request = understood(&json!({
            "messages": [
                { "role": "user", "name": "Ada", "content": parts },
                { "role": "assistant", "content": null, "tool_calls": call },
                { "role": "tool", "content": "3" },
            ],
            "tools": [{ "type": "function" }],
            "chat_template_kwargs": { "enable_thinking": false },
        }));
        let request = request.unwrap();
        assert_eq!(request.messages[0], json!({ "role": "user", "name": "Ada", "content": "one two" }));
        assert_eq!(request.messages[1]["tool_calls"], call);
        assert_eq!(request.tools.unwrap().len(), 1);
        assert_eq!(request.kwargs["enable_thinking"], false);
    }

    #[test]
    fn wrong_messages_are_named() {
        let says = |messages: Value| understood(&json!({ "messages": messages })).unwrap_err();
        insta::assert_snapshot!(says(json!([])), @"`messages` has no message; it needs at least one");
        insta::assert_snapshot!(says(json!(["hi"])), @"`messages[0]` must be an object, found a string");
        insta::assert_snapshot!(says(json!([{ "content": "hi" }])), @"`messages[0].role` must be a string, found nothing");
        insta::assert_snapshot!(says(json!([{ "role": "user", "content": 3 }])), @"`messages[0].content` must be a string or a list of text parts, found 3");
        insta::assert_snapshot!(says(json!([{ "role": "user", "content": [{ "type": "image_url" }] }])), @"`messages[0].content[0]` must be a part of type `text` with a `text`, found one of type `image_url`");
        insta::assert_snapshot!(understood(&json!({})).unwrap_err(), @"`messages` is missing");
    }
}
