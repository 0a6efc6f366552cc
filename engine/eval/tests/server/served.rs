//! A server in a thread, with a model of the tests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use psann_core::{Event, Model, Observer, Result};
use psann_eval::server::{ChatRequest, Gauges, RenderChat, ServedModel, Server, ServerOptions};
use tch::Tensor;

use crate::testing::{ByteTokenizer, Script, Toy};

/// Ids of [`ByteTokenizer`].
pub const VOCABULARY: i64 = 257;

/// Says each message as `<role>content;`, and begins a reply with `<assistant>`.
pub struct Angles;

impl RenderChat for Angles {
    fn render(&self, request: &ChatRequest) -> Result<String> {
        let mut text = String::new();
        for message in &request.messages {
            let role = message["role"].as_str().unwrap_or_default();
            if role == "system" {
                return Err(psann_core::Error::usage("this template takes no system message"));
            }
            text.push_str(&format!("<{role}>{};", message["content"].as_str().unwrap_or_default()));
        }
        if request.continue_final_message {
            text.pop();
        }
        if request.add_generation_prompt {
            text.push_str("<assistant>");
        }
        Ok(text)
    }

    fn source(&self) -> Option<&str> {
        Some("angles")
    }
}

/// What the server says and whether it is to stop.
#[derive(Default)]
struct Ear {
    stop: AtomicBool,
    lines: Mutex<Vec<String>>,
}

impl Observer for Ear {
    fn event(&self, event: Event) {
        if let Event::Note(line) = event {
            self.lines.lock().unwrap().push(line);
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A server that runs until this is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub gauges: Arc<Gauges>,
    ear: Arc<Ear>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Served {
    /// Tells it to stop; gives what it ended with and what it had said.
    pub fn stop(mut self) -> (Result<()>, Vec<String>) {
        let ended = self.end();
        let lines = std::mem::take(&mut *self.ear.lines.lock().unwrap());
        (ended, lines)
    }

    fn end(&mut self) -> Result<()> {
        self.ear.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let ended = self.end();
        if !std::thread::panicking() {
            ended.unwrap();
            assert_eq!(self.gauges.streams(), 0, "a stopped server holds nothing");
        }
    }
}

/// Options of the tests: any free port, no patience for what a test does not ask for.
pub fn options() -> ServerOptions {
    ServerOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        grace: Duration::from_millis(100),
        ..ServerOptions::default()
    }
}

fn serve(model: impl Model + 'static, parameters: Vec<Vec<Tensor>>, context: usize, options: ServerOptions) -> Served {
    let ear = Arc::new(Ear::default());
    let served = ServedModel {
        model: Arc::new(model),
        parameters,
        tokenizer: Arc::new(ByteTokenizer),
        chat: Some(Arc::new(Angles)),
        ends: Vec::new(),
        name: "toy".into(),
        context,
    };
    let observer: Arc<dyn Observer> = Arc::<Ear>::clone(&ear);
    let server = Server::bind(served, options, observer).unwrap();
    let (address, gauges) = (server.address(), server.gauges());
    Served { address, gauges, ear, thread: Some(std::thread::spawn(move || server.run())) }
}

/// A model with attention, whose text depends on all that came before.
pub fn toy(context: usize, options: ServerOptions) -> Served {
    let toy = Toy::new(VOCABULARY);
    serve(toy.model, toy.parameters, context, options)
}

/// A model whose weights are not numbers.
pub fn damaged(context: usize, options: ServerOptions) -> Served {
    let mut toy = Toy::new(VOCABULARY);
    let _ = toy.parameters[2][0].fill_(f64::NAN);
    serve(toy.model, toy.parameters, context, options)
}

/// A model that says `script[n]` after n + 1 tokens.
pub fn script(script: &[u32], context: usize, options: ServerOptions) -> Served {
    let script = Script::new(script, VOCABULARY);
    serve(script.model, script.parameters, context, options)
}

/// A model that says `a` for ever.
pub fn endless(options: ServerOptions) -> Served {
    script(&[u32::from(b'a')], 1 << 40, options)
}

/// Waits until something is so.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_mins(1), "never so: {what}");
        std::thread::yield_now();
    }
}
