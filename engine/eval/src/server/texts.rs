//! [`Texts`]: the texts of one request, from queueing them to hearing of their end.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use tokio::sync::mpsc;

use super::Api;
use super::error::ApiError;
use super::job::{Event, Job, News};
use super::parameters::Parameters;

/// News of a request that may wait for their reader, beside one of each text.
const BUFFER: usize = 32;

/// What a request's texts begin with and how long they get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens, at least one.
    pub ids: Vec<u32>,
    /// Its text, if that is what came.
    pub text: Option<String>,
}

/// The texts of one request. Dropping it ends them.
pub struct Texts {
    events: mpsc::Receiver<Event>,
    open: usize,
}

impl Texts {
    /// Queues `n` texts of each prompt, text k of prompt p as number `p · n + k`. Each has at most `tokens` tokens, and no
    /// more than the context leaves.
    pub fn start(
        api: &Api,
        prompts: &[Prompt],
        parameters: &Parameters,
        tokens: usize,
        scores_prompt: bool,
    ) -> Result<Self, ApiError> {
        let count = prompts.len() * parameters.n;
        let most = api.options.queue;
        if count > most {
            return Err(ApiError::invalid(format!(
                "the request asks for {count} texts; this server queues at most {most}"
            )));
        }
        let (sender, events) = mpsc::channel(count + BUFFER);
        let options = Arc::new(parameters.options.clone());
        let deadline = Instant::now() + api.options.timeout;
        let mut jobs = Vec::with_capacity(count);
        for prompt in prompts {
            let room = tokens.min((api.context + 1).saturating_sub(prompt.ids.len()));
            let needed = prompt.ids.len() + room;
            if needed > api.cached_tokens {
                let message = format!(
                    "a text of up to {needed} tokens does not fit into the {} tokens that this server keeps; ask for fewer",
                    api.cached_tokens
                );
                return Err(ApiError::invalid(message));
            }
            for stream in 0..parameters.n {
                jobs.push(Job {
                    index: jobs.len(),
                    stream: stream as u64,
                    prompt: prompt.ids.clone(),
                    tokens: room,
                    scores_prompt,
                    options: Arc::clone(&options),
                    events: sender.clone(),
                    deadline,
                    place: None,
                });
            }
        }
        let message = || ApiError::busy(format!("{most} texts are waiting already; try again later"));
        api.queue.submit(jobs).map_err(|_| message())?;
        Ok(Self { events, open: count })
    }

    /// The next news; `None` when every text has ended.
    ///
    /// # Errors
    /// When a text ends unfinished.
    pub async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        if self.open == 0 {
            return Ok(None);
        }
        let Some(event) = self.events.recv().await else {
            let message = "the text was given up: nobody read it for too long, or the server stops";
            return Err(ApiError::server(StatusCode::SERVICE_UNAVAILABLE, message).code("cancelled"));
        };
        if event.news.is_last() {
            self.open -= 1;
        }
        match event.news {
            News::Failed(failure) => Err(failure.into()),
            _ => Ok(Some(event)),
        }
    }
}
