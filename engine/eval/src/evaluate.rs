//! The stage `evaluate`: how well the model predicts documents it was not trained on.
//!
//! Three views of one number, and a yardstick. *Perplexity* is per token and comparable only between models of one
//! tokenizer; *bits per byte* is comparable between all models; the *unigram perplexity* is what counting tokens alone
//! achieves on the same text. The end-of-text token is context, never text: it is not scored.

use std::collections::BTreeMap;

use psann_core::quantity::{Count, Span};
use psann_core::tokenizer::SpecialTokens;
use psann_core::{Error, Observer, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::harness::{Format, Limit, SuiteOptions};
use crate::network::Network;
use crate::perplexity::{self, Rolling};
use crate::unigram::Unigram;

/// Measures how well the model predicts held-out text, and what it scores on tasks.
///
/// Each held-out document is scored on its own, each of its tokens once, behind the tokenizer's begin-of-text token (or
/// the end-of-text token that separated documents in training). Tasks are those of lm-evaluation-harness 0.4.13, with the
/// same prompts, metrics and files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateOptions {
    /// Documents (of held-out text: windows) computed at once; more use more memory and change no result.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub batch: u64,
    /// Tokens the model sees at most; the sequence length of training if not given.
    pub context: Option<Count>,
    /// Tokens of held-out text newly scored in each window; all of `context` if not given. Less gives tokens more context,
    /// at more cost.
    pub stride: Option<Count>,
    /// Held-out documents to score at most, the first ones; all if not given.
    pub documents: Option<Count>,
    /// Tasks: `wikitext`, `lambada_openai`, `hellaswag`, `piqa`, `winogrande`, or TOML files with tasks of your own.
    #[schemars(extend("x-path" = ".toml"))]
    pub tasks: Vec<String>,
    /// Folders or files with the documents of the tasks.
    #[schemars(extend("x-path" = true))]
    pub data: Vec<String>,
    /// Examples before each question; by default what the task says, mostly none.
    pub fewshot: Option<u64>,
    /// Seed of the draws of examples.
    pub fewshot_seed: i64,
    /// Documents of each task, the first ones: a number, or below 1 a share of them; all if not given.
    pub limit: Option<f64>,
    /// Write prompts with the tokenizer's chat template.
    pub chat_template: bool,
    /// With a chat template: whether examples are turns of their own (the default) or stand in one turn.
    pub fewshot_as_multiturn: Option<bool>,
    /// What the model is told before everything else.
    pub system_instruction: Option<String>,
    /// Replicates of the bootstrap behind standard errors that have no formula; 0 leaves all standard errors out.
    pub bootstrap: u64,
    /// Evaluate the tasks during training too, after so many steps each time.
    #[schemars(extend("x-effect-free" = true))]
    pub every: Option<Span>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            batch: 8,
            context: None,
            stride: None,
            documents: None,
            tasks: Vec::new(),
            data: Vec::new(),
            fewshot: None,
            fewshot_seed: 1234,
            limit: None,
            chat_template: false,
            fewshot_as_multiturn: None,
            system_instruction: None,
            bootstrap: 100_000,
            every: None,
        }
    }
}

impl EvaluateOptions {
    /// What to ask of the tasks, and how.
    ///
    /// # Errors
    /// When an option makes no sense or options exclude each other.
    pub fn suite(&self) -> Result<SuiteOptions> {
        if !self.chat_template && self.fewshot_as_multiturn == Some(true) {
            return Err(Error::usage("`fewshot_as_multiturn` needs a chat template, which writes the turns")
                .hint("set `chat_template: true` too"));
        }
        let format = match (self.chat_template, self.fewshot_as_multiturn.unwrap_or(true)) {
            (false, _) => Format::Plain,
            (true, true) => Format::MultiTurn,
            (true, false) => Format::SingleTurn,
        };
        Ok(SuiteOptions {
            shots: self.fewshot.map(|shots| shots as usize),
            seed: self.fewshot_seed,
            limit: self.limit.map(Limit::new).transpose()?,
            samples: BTreeMap::new(),
            format,
            system_instruction: self.system_instruction.clone(),
            bootstrap_iterations: self.bootstrap as usize,
        })
    }
}

psann_core::register!(Stage, "evaluate", EvaluateOptions);

/// A held-out document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOut {
    /// Its tokens, without special ones around it.
    pub tokens: Vec<u32>,
    /// Length of its text in UTF-8.
    pub bytes: u64,
}

/// What is evaluated, beside the network.
#[derive(Debug, Clone, Copy)]
pub struct EvaluateInput<'a> {
    /// The documents, in order.
    pub documents: &'a [HeldOut],
    /// The tokenizer's special tokens. Without any in front, a document's first token cannot be scored.
    pub special: SpecialTokens,
    /// How often each token occurred in training; without it there is no unigram perplexity.
    pub training_counts: Option<&'a [u64]>,
    /// Sequence length of training, the context if the options name none.
    pub sequence_length: u64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluateReport {
    /// Documents scored.
    pub documents: u64,
    /// Tokens scored.
    pub tokens: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Mean negative log-likelihood of a token.
    pub nats_per_token: f64,
    /// Its exponential: among how many equally likely tokens the model seems to choose.
    pub perplexity: f64,
    /// Negative log-likelihood of the text in bits, over its bytes.
    pub bits_per_byte: f64,
    /// Perplexity of token frequencies alone on the same text.
    pub unigram_perplexity: Option<f64>,
    /// Tokens the model saw at most.
    pub context: u64,
    /// Tokens newly scored in each window.
    pub stride: u64,
}

/// Scores held-out documents.
///
/// # Errors
/// When there is no text to score, or an option makes no sense.
pub fn evaluate(
    network: Network<'_>,
    input: EvaluateInput<'_>,
    options: &EvaluateOptions,
    observer: &dyn Observer,
) -> Result<EvaluateReport> {
    let rolling = rolling(options, input.sequence_length)?;
    let limit = options.documents.map_or(usize::MAX, |count| count.0 as usize);
    let documents = &input.documents[..input.documents.len().min(limit)];
    let prefix = input.special.bos.or(input.special.eos);
    let sequences: Vec<Vec<u32>> =
        documents.iter().map(|document| prefix.into_iter().chain(document.tokens.iter().copied()).collect()).collect();
    let tokens: u64 = sequences.iter().map(|sequence| sequence.len().saturating_sub(1) as u64).sum();
    if tokens == 0 {
        return Err(Error::new("there is no held-out text to score")
            .hint("set documents aside with `prepare`'s option `validation`, as in `validation: \"2%\"`"));
    }
    let nats: f64 = perplexity::document_nats(network, &sequences, rolling, observer)?.iter().sum();
    let bytes = documents.iter().map(|document| document.bytes).sum();
    let per_token = nats / tokens as f64;
    let unigram = input.training_counts.map(|counts| {
        let unigram = Unigram::new(counts, network.model.vocabulary() as usize);
        let scored = sequences.iter().flat_map(|sequence| sequence.iter().skip(1));
        (scored.map(|token| unigram.nats(*token)).sum::<f64>() / tokens as f64).exp()
    });
    Ok(EvaluateReport {
        documents: documents.len() as u64,
        tokens,
        bytes,
        nats_per_token: per_token,
        perplexity: per_token.exp(),
        bits_per_byte: nats / std::f64::consts::LN_2 / bytes as f64,
        unigram_perplexity: unigram,
        context: rolling.context as u64,
        stride: rolling.stride as u64,
    })
}

fn rolling(options: &EvaluateOptions, sequence_length: u64) -> Result<Rolling> {
    let context = options.context.map_or(sequence_length, |count| count.0);
    let stride = options.stride.map_or(context, |count| count.0);
    if context == 0 {
        return Err(Error::usage("option `context` must be at least 1, found 0"));
    }
    if stride == 0 || stride > context {
        return Err(Error::usage(format!(
            "option `stride` must be from 1 to `context`, which is {context}, found {stride}"
        )));
    }
    Ok(Rolling { context: context as usize, stride: stride as usize, batch: options.batch.max(1) as usize })
}

#[cfg(test)]
mod tests {
    use psann_core::observer::Silent;
    use serde_json::json;

    use super::*;
    use crate::testing::{END, Script, Toy};

    fn held_out(text: &str) -> HeldOut {
        HeldOut { tokens: text.bytes().map(u32::from).collect(), bytes: text.len() as u64 }
    }

    fn input(documents: &[HeldOut]) -> EvaluateInput<'_> {
        let special = SpecialTokens { eos: Some(END), ..SpecialTokens::default() };
        EvaluateInput { documents, special, training_counts: None, sequence_length: 16 }
    }

    #[test]
    fn a_model_that_knows_the_text_has_a_perplexity_of_one_and_one_that_does_not_has_not() {
        let text = "the sea";
        let script = Script::new(&text.bytes().map(u32::from).collect::<Vec<_>>(), 257);
        let good = evaluate(script.network(), input(&[held_out(text)]), &EvaluateOptions::default(), &Silent).unwrap();
        assert_eq!((good.tokens, good.bytes, good.documents), (7, 7, 1));
        assert!((good.perplexity - 1.0).abs() < 1e-6, "{good:?}");
        // The logits are 20 and 0: the wrong token costs 20 nats.
        let bad =
            evaluate(script.network(), input(&[held_out("THE SEA")]), &EvaluateOptions::default(), &Silent).unwrap();
        assert!((bad.nats_per_token - (20.0 * 6.0 / 7.0)).abs() < 1e-4, "{bad:?}");
        assert!((bad.bits_per_byte - bad.nats_per_token / 2.0_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn the_unigram_perplexity_is_of_the_same_tokens() {
        let script = Script::new(&[u32::from(b'a')], 257);
        let mut counts = vec![0; 257];
        counts[usize::from(b'a')] = 1000;
        let documents = [held_out("aaab")];
        let input = EvaluateInput { training_counts: Some(&counts), ..input(&documents) };
        let report = evaluate(script.network(), input, &EvaluateOptions::default(), &Silent).unwrap();
        let expected = (-(3.0 * (1001.0_f64 / 1257.0).ln() + (1.0_f64 / 1257.0).ln()) / 4.0).exp();
        assert!((report.unigram_perplexity.unwrap() - expected).abs() < 1e-9 * expected);
    }

    #[test]
    fn the_batch_changes_nothing_and_a_limit_takes_the_first_documents() {
        let toy = Toy::new(257);
        let documents: Vec<HeldOut> = ["one long text, longer than a window", "two", "three"].map(held_out).into();
        let run = |options: EvaluateOptions| evaluate(toy.network(), input(&documents), &options, &Silent).unwrap();
        let one = run(EvaluateOptions { batch: 1, ..EvaluateOptions::default() });
        let many = run(EvaluateOptions { batch: 64, ..EvaluateOptions::default() });
        assert!((one.nats_per_token - many.nats_per_token).abs() < 1e-6);
        let first = run(EvaluateOptions { documents: Some(Count(1)), ..EvaluateOptions::default() });
        assert_eq!((first.documents, first.bytes), (1, documents[0].bytes));
    }

    #[test]
    fn options_are_read_with_their_units_and_checked() {
        let options: EvaluateOptions =
            psann_core::options::parse(&json!({ "context": "1K", "documents": 20 })).unwrap();
        assert_eq!((options.context, options.documents, options.batch), (Some(Count(1000)), Some(Count(20)), 8));
        for wrong in [json!({ "batch": 0 }), json!({ "contxt": 3 }), json!({ "stride": "far" })] {
            assert!(psann_core::options::parse::<EvaluateOptions>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_of_tasks_become_what_a_suite_wants() {
        let of = |value| psann_core::options::parse::<EvaluateOptions>(&value).unwrap().suite();
        assert_eq!(of(json!({})).unwrap(), SuiteOptions::default());
        let chat = of(json!({ "chat_template": true, "fewshot": 5, "limit": 0.25 })).unwrap();
        assert_eq!((chat.format, chat.shots, chat.limit), (Format::MultiTurn, Some(5), Some(Limit::Fraction(0.25))));
        let single = of(json!({ "chat_template": true, "fewshot_as_multiturn": false })).unwrap();
        assert_eq!(single.format, Format::SingleTurn);
        let error = of(json!({ "fewshot_as_multiturn": true })).unwrap_err().to_string();
        assert_eq!(error, "`fewshot_as_multiturn` needs a chat template, which writes the turns");
        assert!(of(json!({ "limit": 1.5 })).is_err());
    }

    #[test]
    fn nothing_to_score_and_impossible_windows_are_errors() {
        let toy = Toy::new(257);
        let run = |documents: &[HeldOut], options: &EvaluateOptions| {
            evaluate(toy.network(), input(documents), options, &Silent)
        };
        assert!(run(&[], &EvaluateOptions::default()).unwrap_err().to_string().contains("no held-out text"));
        let options = EvaluateOptions { stride: Some(Count(17)), ..EvaluateOptions::default() };
        let error = run(&[held_out("a")], &options).unwrap_err();
        assert_eq!(error.to_string(), "option `stride` must be from 1 to `context`, which is 16, found 17");
    }
}
