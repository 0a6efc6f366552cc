//! `POST /v1/completions`: continues texts, and with `echo` says how probable the prompt's own tokens are.
//!
//! Scoring clients (lm-evaluation-harness is one) send token ids with `echo`, `logprobs` and one token to generate, drop the
//! last entry of what comes back, and take a token for the greedy one when its log-probability equals the best. So there
//! is an entry for every token of the prompt and one more, whatever the model says there, and equal means the same double.
//! A prompt may then be one token longer than the context: its last token is scored but never read.

use std::sync::Arc;

use psann_core::Tokenizer;
use serde_json::{Map, Value, json};

use super::Api;
use super::answer::{Answer, Form, Usage};
use super::engine::TokenScore;
use super::error::ApiError;
use super::fields::{Fields, describe, whole};
use super::job::{Event, News};
use super::parameters::{MOST_SCORES, Parameters};
use super::spelling::{alternatives, finish_reason, text_and_offsets, token_text};
use super::texts::{Prompt, Texts};

/// Tokens that are generated when a request does not say.
const TOKENS: u64 = 16;

/// What a request asks for, understood.
#[derive(Debug)]
pub struct Completion {
    prompts: Vec<Prompt>,
    parameters: Parameters,
    tokens: usize,
    echo: bool,
}

impl Completion {
    /// Understands a request's body.
    pub fn read(body: &Value, api: &Api) -> Result<Self, ApiError> {
        let fields = Fields::of(body)?;
        let mut parameters = Parameters::read(&fields, api)?;
        parameters.options.scores = fields.whole("logprobs", 0..=MOST_SCORES)?.map(|top| top as usize);
        let tokens = fields.whole("max_tokens", 0..=u64::MAX)?.unwrap_or(TOKENS) as usize;
        let echo = fields.flag("echo")?.unwrap_or(false);
        let prompts = prompts(&fields, api)?;
        let readable = api.context + usize::from(echo && tokens <= 1);
        for (place, prompt) in prompts.iter().enumerate() {
            if prompt.ids.len() > readable {
                let message = format!(
                    "prompt {place} has {} tokens, more than the {readable} that the model's context of {} tokens allows here",
                    prompt.ids.len(),
                    api.context
                );
                return Err(ApiError::field("prompt", message).code("context_length_exceeded"));
            }
        }
        Ok(Self { prompts, parameters, tokens: tokens.min(api.max_tokens), echo })
    }

    /// Queues its texts.
    pub fn start(self, api: &Api) -> Result<(Texts, Answer), ApiError> {
        let scores_prompt = self.echo && self.parameters.options.scores.is_some();
        let texts = Texts::start(api, &self.prompts, &self.parameters, self.tokens, scores_prompt)?;
        let n = self.parameters.n;
        let mut choices = Vec::with_capacity(self.prompts.len() * n);
        for prompt in &self.prompts {
            for _ in 0..n {
                choices.push(Choice::new(prompt, &self, api)?);
            }
        }
        let usage = Usage { prompt: self.prompts.iter().map(|prompt| prompt.ids.len()).sum(), completion: 0 };
        let form = CompletionForm { tokenizer: Arc::clone(&api.tokenizer), choices };
        Ok((texts, Answer::new(api, "cmpl", Box::new(form), &self.parameters, usage)))
    }
}

/// The prompts: a string, a list of strings, a list of ids, or a list of such lists.
fn prompts(fields: &Fields<'_>, api: &Api) -> Result<Vec<Prompt>, ApiError> {
    let wrong = |found: String| {
        let message = format!(
            "`prompt` must be a string, a list of strings, or token ids in a list or several lists, found {found}"
        );
        ApiError::field("prompt", message)
    };
    match fields.any("prompt") {
        None => Err(ApiError::field("prompt", "`prompt` is missing")),
        Some(Value::String(text)) => Ok(vec![of_text(text, api)?]),
        Some(Value::Array(list)) => match list.first() {
            None => Err(wrong("an empty list".into())),
            Some(Value::Number(_)) => Ok(vec![of_ids(list, "prompt", api)?]),
            Some(Value::String(_)) => list
                .iter()
                .map(|value| match value {
                    Value::String(text) => of_text(text, api),
                    other => Err(wrong(format!("{} among strings", describe(other)))),
                })
                .collect(),
            Some(Value::Array(_)) => list
                .iter()
                .enumerate()
                .map(|(place, value)| match value {
                    Value::Array(ids) => of_ids(ids, &format!("prompt[{place}]"), api),
                    other => Err(wrong(format!("{} among lists of ids", describe(other)))),
                })
                .collect(),
            Some(other) => Err(wrong(format!("{} in a list", describe(other)))),
        },
        Some(other) => Err(wrong(describe(other))),
    }
}

fn of_text(text: &str, api: &Api) -> Result<Prompt, ApiError> {
    Ok(Prompt { ids: api.encode(text, true)?, text: Some(text.to_owned()) })
}

fn of_ids(list: &[Value], place: &str, api: &Api) -> Result<Prompt, ApiError> {
    if list.is_empty() {
        return Err(ApiError::field("prompt", format!("`{place}` has no tokens; it needs at least one")));
    }
    let id = |(index, value): (usize, &Value)| {
        let number = whole(value).ok_or_else(|| {
            ApiError::field("prompt", format!("`{place}[{index}]` must be a token id, found {}", describe(value)))
        })?;
        u32::try_from(number).ok().filter(|id| u64::from(*id) < api.vocabulary).ok_or_else(|| {
            let message =
                format!("`{place}[{index}]` is {number}, outside of the vocabulary of {} tokens", api.vocabulary);
            ApiError::field("prompt", message)
        })
    };
    Ok(Prompt { ids: list.iter().enumerate().map(id).collect::<Result<_, _>>()?, text: None })
}

/// How completions look.
struct CompletionForm {
    tokenizer: Arc<dyn Tokenizer>,
    choices: Vec<Choice>,
}

/// What was not told yet of a text.
struct Choice {
    ids: Vec<u32>,
    /// The prompt's text, with how many characters stand before each token's, until it is told.
    echo: Option<(String, Vec<usize>)>,
    /// Whether scores are told, and whether the prompt's come first.
    scores: bool,
    scores_prompt: bool,
    /// Whether the answer has an entry for a token that could not be generated.
    owes_entry: bool,
    /// Characters told so far.
    length: usize,
    text: String,
    entries: Vec<Entry>,
    finish: Option<&'static str>,
}

/// One token of `logprobs`.
struct Entry {
    token: String,
    score: Option<(f64, Map<String, Value>)>,
    offset: usize,
}

impl Choice {
    fn new(prompt: &Prompt, wanted: &Completion, api: &Api) -> Result<Self, ApiError> {
        let scores = wanted.parameters.options.scores.is_some();
        let echo = wanted.echo.then(|| text_and_offsets(api.tokenizer.as_ref(), &prompt.ids)).transpose();
        let echo = echo.map_err(|error| ApiError::from(&error))?;
        let echo = echo.map(|(text, offsets)| (prompt.text.clone().unwrap_or(text), offsets));
        let mut choice = Self {
            ids: if scores && wanted.echo { prompt.ids.clone() } else { Vec::new() },
            echo,
            scores,
            scores_prompt: scores && wanted.echo,
            owes_entry: wanted.tokens == 1 && prompt.ids.len() > api.context,
            length: 0,
            text: String::new(),
            entries: Vec::new(),
            finish: None,
        };
        if !choice.scores_prompt {
            choice.tell_prompt(api.tokenizer.as_ref(), None);
        }
        Ok(choice)
    }

    /// Adds the prompt to what is told, with its scores if there are any.
    fn tell_prompt(&mut self, tokenizer: &dyn Tokenizer, scores: Option<&[TokenScore]>) {
        let Some((text, offsets)) = self.echo.take() else { return };
        if let Some(scores) = scores {
            // Nothing stands before the first token that could make it probable.
            let scores = std::iter::once(None).chain(scores.iter().map(Some));
            for ((id, score), offset) in self.ids.iter().zip(scores).zip(offsets) {
                self.entries.push(Entry::new(tokenizer, *id, score, offset));
            }
        }
        self.length += text.chars().count();
        self.text.push_str(&text);
    }

    fn hear(&mut self, tokenizer: &dyn Tokenizer, news: News) {
        match news {
            News::Prompt(scores) => self.tell_prompt(tokenizer, Some(&scores)),
            News::Text { token, score, piece, finish } => {
                match token {
                    Some(token) if self.scores => {
                        self.entries.push(Entry::new(tokenizer, token, score.as_ref(), self.length));
                    }
                    None if self.scores && self.owes_entry => {
                        self.entries.push(Entry { token: String::new(), score: None, offset: self.length });
                    }
                    _ => {}
                }
                self.length += piece.chars().count();
                self.text.push_str(&piece);
                self.finish = finish.map(finish_reason);
            }
            News::Failed(_) => {}
        }
    }

    /// What was not told yet, as a choice of an answer or of a part of one.
    fn tell(&mut self, index: usize) -> Value {
        let logprobs = if self.scores {
            let entries = std::mem::take(&mut self.entries);
            let of = |entry: &Entry| {
                entry.score.clone().map_or((Value::Null, Value::Null), |(own, top)| (own.into(), top.into()))
            };
            let (own, top): (Vec<Value>, Vec<Value>) = entries.iter().map(of).unzip();
            json!({
                "tokens": entries.iter().map(|entry| entry.token.as_str()).collect::<Vec<_>>(),
                "token_logprobs": own,
                "top_logprobs": top,
                "text_offset": entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(),
            })
        } else {
            Value::Null
        };
        json!({
            "index": index,
            "text": std::mem::take(&mut self.text),
            "logprobs": logprobs,
            "finish_reason": self.finish,
        })
    }
}

impl Entry {
    fn new(tokenizer: &dyn Tokenizer, token: u32, score: Option<&TokenScore>, offset: usize) -> Self {
        let top = |score: &TokenScore| {
            let shown = alternatives(tokenizer, score);
            (score.log_probability, shown.into_iter().map(|(_, text, value)| (text, value.into())).collect())
        };
        Self { token: token_text(tokenizer, token), score: score.map(top), offset }
    }
}

impl Form for CompletionForm {
    fn object(&self, _: bool) -> &'static str {
        "text_completion"
    }

    fn hear(&mut self, event: Event) {
        if let Some(choice) = self.choices.get_mut(event.index) {
            choice.hear(self.tokenizer.as_ref(), event.news);
        }
    }

    fn opening(&mut self) -> Vec<Value> {
        let told = |(index, choice): (usize, &mut Choice)| (!choice.text.is_empty()).then(|| choice.tell(index));
        self.choices.iter_mut().enumerate().filter_map(told).collect()
    }

    fn part(&mut self, index: usize) -> Option<Value> {
        let choice = self.choices.get_mut(index)?;
        let empty = choice.text.is_empty() && choice.entries.is_empty() && choice.finish.is_none();
        (!empty).then(|| choice.tell(index))
    }

    fn whole(&mut self) -> Vec<Value> {
        self.choices.iter_mut().enumerate().map(|(index, choice)| choice.tell(index)).collect()
    }
}
