//! `psann generate`: continues texts with a trained model, writing as it goes.

use std::io::{IsTerminal, Read, Write};
use std::ops::ControlFlow;

use psann_core::{Error, Event, Observer};
use psann_eval::generate::{GenerateOptions, Generator};
use psann_eval::network::{Network, store_in_half};
use psann_eval::sampling::Sampling;
use serde_json::json;

use crate::cli::{GenerateArgs, WeightsKind};
use crate::display::{self, Failure};
use crate::progress::Progress;
use crate::run::Trained;
use crate::stop::Stop;

/// Continues every prompt.
pub fn execute(args: &GenerateArgs) -> Result<(), Failure> {
    let observer = Progress::new(Stop::listen()?);
    let mut trained = Trained::open(&args.run)?;
    if args.weights == WeightsKind::Bf16 {
        store_in_half(&mut trained.loaded.parameters);
    }
    let network = Network::new(trained.loaded.model.as_ref(), &trained.loaded.parameters)?;
    let generator = Generator::new(network, &trained.tokenizer)?;
    let options = GenerateOptions {
        tokens: args.tokens,
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            repetition_penalty: args.repetition_penalty,
            ..Sampling::default()
        },
        seed: args.seed,
        ..GenerateOptions::default()
    };
    for (index, prompt) in prompts(args)?.iter().enumerate() {
        let read = generator.read(prompt)?;
        let mut piece = |text: &str| {
            if !args.json {
                write(text);
            }
            if observer.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if !args.json {
            write(prompt);
        }
        let generated = generator.continue_prompt(&read, &options, index as u64, &mut piece)?;
        if args.json {
            let line = json!({
                "prompt": prompt,
                "text": generated.text,
                "tokens": generated.tokens.len(),
                "finish": generated.finish,
                "tokens_per_second": generated.tokens_per_second(),
            });
            display::result(&line.to_string());
        } else {
            write("\n");
            let speed = generated.tokens_per_second();
            if std::io::stderr().is_terminal() {
                observer.event(Event::Note(format!("{} tokens · {speed:.0} tokens/s", generated.tokens.len())));
            }
        }
        if observer.stop_requested() {
            return Err(Error::interrupted("stopped while generating").into());
        }
    }
    Ok(())
}

/// The prompts given, or all of standard input.
fn prompts(args: &GenerateArgs) -> Result<Vec<String>, Error> {
    if !args.prompt.is_empty() {
        return Ok(args.prompt.clone());
    }
    if std::io::stdin().is_terminal() {
        return Err(Error::usage("there is nothing to continue")
            .hint("give `--prompt \"The sea\"`, or a text on standard input"));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Error::new("cannot read standard input as text").because(e))?;
    Ok(vec![text.trim_end_matches('\n').to_owned()])
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that left needs no more text; the loop ends with its tokens.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
