//! [`Parameters`]: the fields that both endpoints share, from sampling to streaming.

use serde_json::Value;

use super::Api;
use super::error::ApiError;
use super::fields::{Fields, describe};
use super::job::TextOptions;
use crate::sampling::Sampling;

/// Most stop strings of a request.
const STOPS: usize = 16;

/// Most alternatives that are shown beside a token.
pub const MOST_SCORES: u64 = 20;

/// What a request says about its texts, whatever they begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// How texts are continued.
    pub options: TextOptions,
    /// Texts of each prompt.
    pub n: usize,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether a stream ends with a count of tokens.
    pub include_usage: bool,
}

impl Parameters {
    /// Reads them, and checks that the request is for the served model and asks for nothing that would silently not happen.
    pub fn read(fields: &Fields<'_>, api: &Api) -> Result<Self, ApiError> {
        check_model(fields, api)?;
        check_unsupported(fields)?;
        let off = 1.0;
        let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(off);
        let sampling = Sampling {
            temperature: fields.number("temperature", 0.0..=100.0)?.unwrap_or(1.0),
            top_k: top_k(fields)?,
            // In the interface 0 means the likeliest token, in `Sampling` it is off.
            top_p: if top_p == 0.0 { f64::MIN_POSITIVE } else { top_p },
            repetition_penalty: fields.number("repetition_penalty", 0.01..=100.0)?.unwrap_or(off),
            ..Sampling::default()
        };
        let n = fields.whole("n", 1..=128)?.unwrap_or(1);
        if let Some(best_of) = fields.whole("best_of", 1..=128)?.filter(|best_of| *best_of != n) {
            let message =
                format!("`best_of` is {best_of} and `n` is {n}: choosing the best of several texts is not supported");
            return Err(ApiError::field("best_of", message));
        }
        let options = TextOptions {
            min_tokens: fields.whole("min_tokens", 0..=u64::MAX)?.unwrap_or(0) as usize,
            stop: stop(fields)?,
            ignore_end: fields.flag("ignore_eos")?.unwrap_or(false),
            sampling,
            presence_penalty: fields.number("presence_penalty", -100.0..=100.0)?.unwrap_or(0.0),
            frequency_penalty: fields.number("frequency_penalty", -100.0..=100.0)?.unwrap_or(0.0),
            seed: seed(fields)?.unwrap_or_else(|| api.seed()),
            scores: None,
        };
        let include_usage = match fields.object("stream_options")? {
            Some(_) => {
                let inner = fields.any("stream_options").map(Fields::of).transpose()?;
                inner.map(|inner| inner.flag("include_usage")).transpose()?.flatten().unwrap_or(false)
            }
            None => false,
        };
        Ok(Self { options, n: n as usize, stream: fields.flag("stream")?.unwrap_or(false), include_usage })
    }
}

fn check_model(fields: &Fields<'_>, api: &Api) -> Result<(), ApiError> {
    match fields.text("model")? {
        Some(name) if name != api.name => {
            let status = axum::http::StatusCode::NOT_FOUND;
            let message = format!("there is no model `{name}` here; this server has `{}`", api.name);
            Err(ApiError::missing(status, message).code("model_not_found"))
        }
        _ => Ok(()),
    }
}

/// Fields that would change the text if they were known. Ignoring them would answer another question than was asked.
fn check_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    let unsupported = |name: &str| {
        let empty = match fields.any(name) {
            None => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Object(object)) => object.is_empty(),
            Some(_) => false,
        };
        if empty { Ok(()) } else { Err(ApiError::field(name, format!("`{name}` is not supported"))) }
    };
    unsupported("suffix")?;
    unsupported("logit_bias")?;
    let format = fields.object("response_format")?.and_then(|format| format.get("type"));
    match format.and_then(Value::as_str) {
        None | Some("text") => Ok(()),
        Some(other) => {
            let message = format!("`response_format` of type `{other}` is not supported; answers are plain text");
            Err(ApiError::field("response_format", message))
        }
    }
}

/// 0 and, as many clients say it, -1 are off.
fn top_k(fields: &Fields<'_>) -> Result<usize, ApiError> {
    if fields.any("top_k").and_then(Value::as_i64) == Some(-1) {
        return Ok(0);
    }
    Ok(fields.whole("top_k", 0..=u64::MAX)?.unwrap_or(0) as usize)
}

/// Any whole number; negative ones count too.
fn seed(fields: &Fields<'_>) -> Result<Option<u64>, ApiError> {
    match fields.any("seed").and_then(Value::as_i64) {
        Some(seed) => Ok(Some(seed as u64)),
        None => fields.whole("seed", 0..=u64::MAX),
    }
}

/// A string, or a list of a few.
fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let wrong = |found: String| {
        ApiError::field("stop", format!("`stop` must be a string or a list of at most {STOPS} strings, found {found}"))
    };
    match fields.any("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) if list.len() > STOPS => Err(wrong(format!("{} of them", list.len()))),
        Some(Value::Array(list)) => {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            list.iter()
                .map(|value| text(value).ok_or_else(|| wrong(format!("{} in a list", describe(value)))))
                .collect()
        }
        Some(other) => Err(wrong(describe(other))),
    }
}
