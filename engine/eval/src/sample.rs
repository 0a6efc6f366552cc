//! The stage `sample`: what the model says to a few prompts, so that a person can see what a perplexity means.

use std::ops::ControlFlow;

use psann_core::{Error, Event, Observer, Result, Tokenizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::generate::{Finish, GenerateOptions, Generator};
use crate::network::Network;
use crate::sampling::{Sampling, TopPRule};

/// Lets the model continue prompts.
///
/// The same seed gives the same texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleOptions {
    /// Texts to continue; an empty one lets the model begin by itself.
    pub prompts: Vec<String>,
    /// Texts for each prompt.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// Tokens to add at most.
    pub tokens: u64,
    /// Tokens before which a text may not end.
    pub min_tokens: u64,
    /// Texts that end the generation; they are not part of the result.
    pub stop: Vec<String>,
    /// Above 1 bolder, below 1 safer, 0 always the likeliest token.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// Choose among the k likeliest tokens only; 0 is off.
    pub top_k: u64,
    /// Choose among the likeliest tokens that together have this probability; 1 is off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
    /// Whether the token that reaches `top_p` may still be chosen: `keep_crossing` (usual) or `drop_crossing` (as psannlm does).
    pub top_p_rule: TopPRule,
    /// Make tokens that are already there less likely: positive logits are divided by it, negative ones multiplied; 1 is off.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub repetition_penalty: f64,
    /// Seed of the choices.
    pub seed: u64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        let GenerateOptions { tokens, min_tokens, stop, sampling, seed } = GenerateOptions::default();
        Self {
            prompts: vec![String::new()],
            count: 1,
            tokens: tokens as u64,
            min_tokens: min_tokens as u64,
            stop,
            temperature: sampling.temperature,
            top_k: sampling.top_k as u64,
            top_p: sampling.top_p,
            top_p_rule: sampling.top_p_rule,
            repetition_penalty: sampling.repetition_penalty,
            seed,
        }
    }
}

psann_core::register!(Stage, "sample", SampleOptions);

impl SampleOptions {
    /// The same as the generator takes them.
    pub fn generation(&self) -> GenerateOptions {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k as usize,
            top_p: self.top_p,
            top_p_rule: self.top_p_rule,
            repetition_penalty: self.repetition_penalty,
        };
        GenerateOptions {
            tokens: self.tokens as usize,
            min_tokens: self.min_tokens as usize,
            stop: self.stop.clone(),
            sampling,
            seed: self.seed,
        }
    }
}

/// A prompt and what the model made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt.
    pub prompt: String,
    /// What was added to it.
    pub text: String,
    /// Tokens added.
    pub tokens: u64,
    /// Why it ended.
    pub finish: Finish,
    /// Speed behind the prompt. Not stored: results do not depend on the machine.
    #[serde(skip)]
    pub tokens_per_second: f64,
}

/// Continues every prompt `count` times, in order.
///
/// # Errors
/// When there is no prompt, or the user asked to stop.
pub fn sample(
    network: Network<'_>,
    tokenizer: &dyn Tokenizer,
    options: &SampleOptions,
    observer: &dyn Observer,
) -> Result<Vec<Sample>> {
    if options.prompts.is_empty() {
        return Err(
            Error::usage("option `prompts` is empty").hint("give at least one text, as in `prompts: [\"The sea\"]`")
        );
    }
    let generation = options.generation();
    let generator = Generator::new(network, tokenizer)?;
    let total = options.prompts.len() as u64 * options.count;
    let task = "generating samples";
    let mut samples = Vec::new();
    for prompt in &options.prompts {
        let read = generator.read(prompt)?;
        for _ in 0..options.count {
            // The number of the text, not of the prompt: equal prompts differ too.
            let stream = samples.len() as u64;
            let mut listener =
                |_: &str| if observer.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let generated = generator.continue_prompt(&read, &generation, stream, &mut listener)?;
            if generated.finish == Finish::Cancelled {
                return Err(Error::interrupted("stopped while generating; nothing of it is kept"));
            }
            let speed = generated.tokens_per_second();
            observer.event(Event::Progress {
                task: task.into(),
                done: stream + 1,
                total: Some(total),
                unit: "texts",
                detail: format!("{speed:.0} tokens/s"),
            });
            samples.push(Sample {
                prompt: prompt.clone(),
                text: generated.text,
                tokens: generated.tokens.len() as u64,
                finish: generated.finish,
                tokens_per_second: speed,
            });
        }
    }
    observer.event(Event::Done { task: task.into() });
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use psann_core::observer::Silent;
    use psann_core::options;
    use serde_json::json;

    use super::*;
    use crate::testing::{ByteTokenizer, Toy};

    #[test]
    fn every_prompt_is_continued_count_times_and_the_same_seed_repeats_it() {
        let toy = Toy::new(257);
        let value = json!({ "prompts": ["a", "b"], "count": 2, "tokens": 8, "min_tokens": 8, "temperature": 2.0, "top_p": 1.0 });
        let options: SampleOptions = options::parse(&value).unwrap();
        let run = |options: &SampleOptions| {
            let samples = sample(toy.network(), &ByteTokenizer, options, &Silent).unwrap();
            serde_json::to_value(&samples).unwrap()
        };
        let first = run(&options);
        let prompts: Vec<&str> =
            first.as_array().unwrap().iter().map(|sample| sample["prompt"].as_str().unwrap()).collect();
        assert_eq!(prompts, ["a", "a", "b", "b"]);
        assert_ne!(first[0]["text"], first[1]["text"]);
        assert_eq!(first, run(&options));
        assert_ne!(first, run(&SampleOptions { seed: 1, ..options.clone() }));
    }

    #[test]
    fn a_prompt_less_stage_begins_by_itself_and_an_empty_list_is_an_error() {
        let toy = Toy::new(257);
        let options = SampleOptions { tokens: 3, min_tokens: 3, ..SampleOptions::default() };
        assert_eq!(sample(toy.network(), &ByteTokenizer, &options, &Silent).unwrap()[0].tokens, 3);
        let none = SampleOptions { prompts: Vec::new(), ..options };
        assert!(sample(toy.network(), &ByteTokenizer, &none, &Silent).is_err());
    }

    #[test]
    fn impossible_options_are_refused_by_name() {
        for (value, name) in [
            (json!({ "temperature": -1.0 }), "temperature"),
            (json!({ "top_p": 1.5 }), "top_p"),
            (json!({ "repetition_penalty": 0.0 }), "repetition_penalty"),
            (json!({ "top_p_rule": "both" }), "top_p_rule"),
            (json!({ "promts": [] }), "promts"),
        ] {
            let error = options::parse::<SampleOptions>(&value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
