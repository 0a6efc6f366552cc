//! [`Answer`]: from news of texts to an answer, in one piece or as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Map, Value, json};

use super::Api;
use super::access::Access;
use super::error::{ApiError, json_response};
use super::job::{Event, News};
use super::parameters::Parameters;
use super::texts::Texts;

/// How the answers of an endpoint look. It hears news and tells what it has not told yet.
pub trait Form: Send {
    /// The answer's `object`; streams may have another.
    fn object(&self, stream: bool) -> &'static str;

    /// Hears news of a text.
    fn hear(&mut self, event: Event);

    /// What a stream tells before any news, a choice each.
    fn opening(&mut self) -> Vec<Value>;

    /// What a stream tells of text `index` now; `None` if there is nothing.
    fn part(&mut self, index: usize) -> Option<Value>;

    /// Everything, a choice for each text.
    fn whole(&mut self) -> Vec<Value>;
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of its prompts.
    pub prompt: usize,
    /// Chosen by the model, those that end texts included.
    pub completion: usize,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

/// An answer in the making.
pub struct Answer {
    form: Box<dyn Form>,
    id: String,
    created: u64,
    model: String,
    usage: Usage,
    streams: bool,
    include_usage: bool,
}

impl Answer {
    /// An answer that has heard nothing.
    pub fn new(api: &Api, prefix: &str, form: Box<dyn Form>, parameters: &Parameters, usage: Usage) -> Self {
        Self {
            form,
            id: format!("{prefix}-{:016x}", api.seed()),
            created: super::unix_time(),
            model: api.name.clone(),
            usage,
            streams: parameters.stream,
            include_usage: parameters.include_usage,
        }
    }

    /// The response: after all texts have ended, or at once as a stream.
    pub async fn response(mut self, mut texts: Texts, access: Arc<Access>) -> Result<Response, ApiError> {
        if self.streams {
            return Ok(self.stream(texts, access));
        }
        while let Some(event) = texts.next().await? {
            self.hear(event, &access);
        }
        access.count(self.usage);
        let choices = self.form.whole();
        let mut answer = self.envelope(choices, false);
        answer.insert("usage".into(), self.usage.json());
        Ok(json_response(StatusCode::OK, &Value::Object(answer)))
    }

    fn hear(&mut self, event: Event, access: &Access) {
        if let News::Text { token: Some(_), .. } = event.news {
            self.usage.completion += 1;
            access.count(self.usage);
        }
        self.form.hear(event);
    }

    fn envelope(&self, choices: Vec<Value>, stream: bool) -> Map<String, Value> {
        let mut envelope = Map::new();
        envelope.insert("id".into(), self.id.as_str().into());
        envelope.insert("object".into(), self.form.object(stream).into());
        envelope.insert("created".into(), self.created.into());
        envelope.insert("model".into(), self.model.as_str().into());
        envelope.insert("choices".into(), choices.into());
        envelope
    }

    fn stream(mut self, texts: Texts, access: Arc<Access>) -> Response {
        access.count(self.usage);
        let opening: String = self.form.opening().into_iter().map(|choice| self.chunk(vec![choice])).collect();
        let state = Some((self, texts, access, opening));
        let body = stream::unfold(state, |state| async {
            let (mut answer, mut texts, access, opening) = state?;
            let mut text = opening;
            while text.is_empty() {
                match texts.next().await {
                    Ok(Some(event)) => {
                        let index = event.index;
                        answer.hear(event, &access);
                        if let Some(choice) = answer.form.part(index) {
                            text.push_str(&answer.chunk(vec![choice]));
                        }
                    }
                    Ok(None) => return Some((Ok::<_, Infallible>(answer.closing()), None)),
                    // The status went out long ago. No `[DONE]` follows, so nobody takes the text for a whole one.
                    Err(error) => return Some((Ok(sse(&error.json())), None)),
                }
            }
            Some((Ok(text), Some((answer, texts, access, String::new()))))
        });
        let mut response = Response::new(Body::from_stream(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    fn chunk(&self, choices: Vec<Value>) -> String {
        let mut chunk = self.envelope(choices, true);
        if self.include_usage {
            chunk.insert("usage".into(), Value::Null);
        }
        sse(&Value::Object(chunk))
    }

    fn closing(&self) -> String {
        let mut text = String::new();
        if self.include_usage {
            let mut chunk = self.envelope(Vec::new(), true);
            chunk.insert("usage".into(), self.usage.json());
            text.push_str(&sse(&Value::Object(chunk)));
        }
        text.push_str("data: [DONE]\n\n");
        text
    }
}

/// One server-sent event. JSON has no raw line breaks, so it is one line.
fn sse(value: &Value) -> String {
    format!("data: {value}\n\n")
}
