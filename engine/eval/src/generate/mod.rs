//! [`Generator`]: text from a prompt, token by token, over a key-value cache.
//!
//! Prompts are continued one at a time. A batch would be faster, but then the last bits of a prompt's logits, and with
//! them its text, would depend on its neighbours. Several texts from one prompt share the work of reading it.

pub(crate) mod stop;
pub(crate) mod stream;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use psann_core::{Error, Result, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::sampling::{self, Sampling};
use crate::session::Session;
use stop::StopMatcher;
use stream::TextStream;

/// How a prompt is continued.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to add.
    pub tokens: usize,
    /// Tokens before which the text may not end.
    pub min_tokens: usize,
    /// Texts that end the generation; they are not part of the result.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The same seed gives the same text.
    pub seed: u64,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { tokens: 100, min_tokens: 0, stop: Vec::new(), sampling: Sampling::default(), seed: 0 }
    }
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It has as many tokens as were allowed.
    Length,
    /// The model said that it ends here.
    EndOfText,
    /// A stop string appeared.
    Stop,
    /// The listener wanted no more.
    Cancelled,
}

/// A continued prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// What was added to the prompt; without the stop string.
    pub text: String,
    /// The chosen tokens, those of a stop string included, the end-of-text token not.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt, with the one in front of it if there is one.
    pub prompt_tokens: usize,
    /// Time to read the prompt.
    pub prefill: Duration,
    /// Time for everything after it.
    pub decode: Duration,
}

impl Generated {
    /// Tokens a second after the prompt was read; 0 when nothing was generated.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decode.as_secs_f64();
        if seconds > 0.0 { self.tokens.len() as f64 / seconds } else { 0.0 }
    }
}

/// Continues prompts with a network.
#[derive(Clone, Copy)]
pub struct Generator<'a> {
    network: Network<'a>,
    tokenizer: &'a dyn Tokenizer,
}

/// A prompt that has been read; texts start from it.
pub struct Prompt<'a> {
    session: Session<'a>,
    ids: Vec<u32>,
    logits: Vec<f32>,
    prefill: Duration,
}

impl<'a> Generator<'a> {
    /// A generator of text in the words of `tokenizer`.
    ///
    /// # Errors
    /// When the tokenizer has ids that the model does not know.
    pub fn new(network: Network<'a>, tokenizer: &'a dyn Tokenizer) -> Result<Self> {
        check_vocabulary(network, tokenizer)?;
        Ok(Self { network, tokenizer })
    }

    /// Reads a prompt. A tokenizer's begin-of-text token goes in front; an empty prompt of a tokenizer without one starts
    /// behind its end-of-text token, which is what stood before every document in training.
    ///
    /// # Errors
    /// When there is nothing to read at all.
    pub fn read(&self, prompt: &str) -> Result<Prompt<'a>> {
        let mut ids = self.tokenizer.encode(prompt)?;
        let special = self.tokenizer.special();
        let front = if ids.is_empty() { special.bos.or(special.eos) } else { special.bos };
        if let Some(front) = front {
            ids.insert(0, front);
        }
        if ids.is_empty() {
            return Err(Error::usage("an empty prompt needs a tokenizer with a begin-of-text or end-of-text token")
                .hint("give a prompt of at least one character"));
        }
        self.read_ids(ids)
    }

    /// Reads a prompt that is given as ids, special ones included.
    pub fn read_ids(&self, ids: Vec<u32>) -> Result<Prompt<'a>> {
        let started = Instant::now();
        let mut session = Session::new(self.network);
        let logits = last_row(&session.feed(&[&ids])?)?;
        Ok(Prompt { session, ids, logits, prefill: started.elapsed() })
    }

    /// Continues a prompt. `stream` is the number of the text within its seed, so that several texts differ. `listener`
    /// hears each new piece of text, whole characters only, as soon as no stop string can begin in it; the pieces make up the
    /// result's text.
    pub fn continue_prompt(
        &self,
        prompt: &Prompt<'a>,
        options: &GenerateOptions,
        stream: u64,
        listener: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated> {
        options.sampling.check()?;
        let started = Instant::now();
        let eos = self.tokenizer.special().eos;
        let mut session = prompt.session.clone();
        let mut logits = prompt.logits.clone();
        let mut ids = prompt.ids.clone();
        let mut text = TextStream::new(self.tokenizer, &prompt.ids)?;
        let mut stops = StopMatcher::new(&options.stop);
        let mut out = String::new();
        let mut finish = Finish::Length;
        for position in 0..options.tokens {
            let next = choose(&mut logits, &ids, eos, position, options, stream)?;
            if Some(next) == eos {
                finish = Finish::EndOfText;
                break;
            }
            ids.push(next);
            let piece = text.push(next)?;
            let (piece, stopped) = stops.push(&piece);
            if deliver(&piece, &mut out, listener).is_break() {
                finish = Finish::Cancelled;
                break;
            }
            if stopped {
                finish = Finish::Stop;
                break;
            }
            if position + 1 < options.tokens {
                logits = last_row(&session.feed(&[&[next]])?)?;
            }
        }
        if matches!(finish, Finish::Length | Finish::EndOfText) {
            let (piece, stopped) = stops.push(&text.finish()?);
            let rest = if stopped { piece } else { piece + &stops.finish() };
            // The listener may refuse it, but there is nothing left to cancel.
            let _ = deliver(&rest, &mut out, listener);
            if stopped {
                finish = Finish::Stop;
            }
        }
        let prompt_tokens = prompt.ids.len();
        let tokens = ids.split_off(prompt_tokens);
        Ok(Generated { text: out, tokens, finish, prompt_tokens, prefill: prompt.prefill, decode: started.elapsed() })
    }

    /// Reads a prompt and continues it once.
    pub fn generate(&self, prompt: &str, options: &GenerateOptions) -> Result<Generated> {
        self.continue_prompt(&self.read(prompt)?, options, 0, &mut |_| ControlFlow::Continue(()))
    }
}

/// Fails when a tokenizer has ids that a network does not know.
pub(crate) fn check_vocabulary(network: Network<'_>, tokenizer: &dyn Tokenizer) -> Result<()> {
    let (words, rows) = (tokenizer.vocabulary(), network.model.vocabulary());
    if words as i64 > rows {
        return Err(Error::usage(format!("the tokenizer has {words} tokens, the model knows {rows}"))
            .hint("use the tokenizer that the model was trained with"));
    }
    Ok(())
}

fn choose(
    logits: &mut [f32],
    ids: &[u32],
    eos: Option<u32>,
    position: usize,
    options: &GenerateOptions,
    stream: u64,
) -> Result<u32> {
    sampling::penalise(logits, ids, options.sampling.repetition_penalty);
    if let Some(logit) = eos.filter(|_| position < options.min_tokens).and_then(|eos| logits.get_mut(eos as usize)) {
        *logit = f32::NEG_INFINITY;
    }
    let candidates = sampling::candidates(logits, &options.sampling)?;
    sampling::choose(&candidates, sampling::uniform(options.seed, stream, position as u64))
}

fn deliver(piece: &str, out: &mut String, listener: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
    if piece.is_empty() {
        return ControlFlow::Continue(());
    }
    out.push_str(piece);
    listener(piece)
}

/// The only row of `[1, vocabulary]`.
pub(crate) fn last_row(logits: &tch::Tensor) -> Result<Vec<f32>> {
    Vec::<f32>::try_from(logits.view([-1])).map_err(|e| Error::new("cannot read the model's logits").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ByteTokenizer, END, Script, Toy};

    /// Continues "ab" with a model that says `script`; gives the result and the pieces heard.
    fn say(script: &[u32], options: &GenerateOptions) -> (Generated, Vec<String>) {
        // "ab" are two tokens; what is said after the first of them is never asked for.
        let script: Vec<u32> = std::iter::once(0).chain(script.iter().copied()).collect();
        let script = Script::new(&script, i64::from(END) + 1);
        let generator = Generator::new(script.network(), &ByteTokenizer).unwrap();
        let mut pieces = Vec::new();
        let mut listener = |piece: &str| {
            pieces.push(piece.to_owned());
            ControlFlow::Continue(())
        };
        let prompt = generator.read("ab").unwrap();
        let generated = generator.continue_prompt(&prompt, options, 0, &mut listener).unwrap();
        assert_eq!(pieces.concat(), generated.text, "the pieces are the text");
        (generated, pieces)
    }

    fn bytes(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    fn greedy(tokens: usize) -> GenerateOptions {
        GenerateOptions { tokens, sampling: Sampling::greedy(), ..GenerateOptions::default() }
    }

    #[test]
    fn a_text_ends_at_the_end_of_text_token_or_at_its_length() {
        let script = [bytes("sea"), vec![END]].concat();
        let (ended, _) = say(&script, &greedy(50));
        assert_eq!((ended.text.as_str(), ended.finish, ended.tokens.len()), ("sea", Finish::EndOfText, 3));
        assert_eq!(ended.prompt_tokens, 2);
        let (cut, _) = say(&script, &greedy(2));
        assert_eq!((cut.text.as_str(), cut.finish), ("se", Finish::Length));
        let (none, _) = say(&script, &greedy(0));
        assert_eq!((none.text.as_str(), none.finish), ("", Finish::Length));
    }

    #[test]
    fn a_text_may_not_end_before_its_least_length() {
        let script = [bytes("s"), vec![END; 4]].concat();
        let options = GenerateOptions { min_tokens: 3, ..greedy(50) };
        assert_eq!(say(&script, &options).0.tokens.len(), 3);
    }

    #[test]
    fn pieces_are_whole_characters() {
        let (generated, pieces) = say(&bytes("né→𝄞"), &greedy(10));
        assert_eq!(generated.text, "né→𝄞");
        assert_eq!(pieces, ["n", "é", "→", "𝄞"]);
        let (cut, pieces) = say(&bytes("n→"), &greedy(2));
        assert_eq!(
            (cut.text.as_str(), pieces.len()),
            ("n\u{fffd}", 2),
            "a character cut off by the length is shown as such"
        );
    }

    #[test]
    fn a_stop_string_ends_the_text_and_none_of_it_is_heard() {
        let options = GenerateOptions { stop: vec!["\n\nQ".into(), "END".into()], ..greedy(50) };
        let (stopped, pieces) = say(&bytes("yes\n\nQ: more"), &options);
        assert_eq!((stopped.text.as_str(), stopped.finish), ("yes", Finish::Stop));
        assert_eq!(pieces.concat(), "yes");
        assert_eq!(stopped.tokens.len(), 6);
        let (near, _) = say(&[bytes("yes\n\nA"), vec![END]].concat(), &options);
        assert_eq!((near.text.as_str(), near.finish), ("yes\n\nA", Finish::EndOfText));
        let (open, _) = say(&[bytes("E EN"), vec![END]].concat(), &options);
        assert_eq!(open.text, "E EN", "what was held back for a stop string that never came is not lost");
    }

    #[test]
    fn a_listener_can_end_the_text() {
        let script = Script::new(&bytes("abcdef"), 257);
        let generator = Generator::new(script.network(), &ByteTokenizer).unwrap();
        let prompt = generator.read("x").unwrap();
        let mut heard = 0;
        let mut listener = |_: &str| {
            heard += 1;
            if heard == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let generated = generator.continue_prompt(&prompt, &greedy(50), 0, &mut listener).unwrap();
        assert_eq!((generated.text.as_str(), generated.finish), ("ab", Finish::Cancelled));
    }

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_stream_another() {
        let toy = Toy::new(257);
        let generator = Generator::new(toy.network(), &ByteTokenizer).unwrap();
        let prompt = generator.read("The sea").unwrap();
        let text = |seed, stream| {
            let sampling = Sampling { temperature: 2.0, top_p: 1.0, ..Sampling::default() };
            let options = GenerateOptions { tokens: 30, min_tokens: 30, seed, sampling, ..GenerateOptions::default() };
            generator.continue_prompt(&prompt, &options, stream, &mut |_| ControlFlow::Continue(())).unwrap().tokens
        };
        assert_eq!(text(1, 0), text(1, 0));
        assert_ne!(text(1, 0), text(2, 0));
        assert_ne!(text(1, 0), text(1, 1));
    }

    #[test]
    fn greedy_text_from_the_cache_is_that_of_full_forwards() {
        let toy = Toy::new(257);
        let network = toy.network();
        let generator = Generator::new(network, &ByteTokenizer).unwrap();
        let options = GenerateOptions { min_tokens: 12, ..greedy(12) };
        let generated = generator.generate("whale", &options).unwrap();
        let mut ids = bytes("whale");
        for token in &generated.tokens {
            let mut logits = last_row(&Session::new(network).feed(&[&ids]).unwrap()).unwrap();
            logits[END as usize] = f32::NEG_INFINITY;
            assert_eq!(sampling::candidates(&logits, &Sampling::greedy()).unwrap()[0].id, *token);
            ids.push(*token);
        }
    }

    #[test]
    fn an_empty_prompt_starts_behind_the_end_of_text_token() {
        let script = Script::new(&bytes("hi"), 257);
        let generator = Generator::new(script.network(), &ByteTokenizer).unwrap();
        let generated = generator.generate("", &greedy(2)).unwrap();
        assert_eq!((generated.text.as_str(), generated.prompt_tokens), ("hi", 1));
    }

    #[test]
    fn a_tokenizer_larger_than_the_model_is_refused() {
        let toy = Toy::new(100);
        let error = Generator::new(toy.network(), &ByteTokenizer).err().unwrap();
        assert_eq!(error.to_string(), "the tokenizer has 257 tokens, the model knows 100");
    }
}
