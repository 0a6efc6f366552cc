//! An HTTP server that speaks the interface most clients know: OpenAI's completions and chat completions, with the
//! log-probabilities of prompts that evaluation needs.
//!
//! | module | what |
//! |---|---|
//! | `engine` | what is asked of a network: to advance texts, to score a prompt |
//! | `scheduler`, `stream`, `job` | continuous batching on one thread, and what it exchanges with the rest |
//! | `connection`, `routes`, `body`, `access` | HTTP: limits, addresses, bodies, the log |
//! | `fields`, `parameters`, `completions`, `chat` | requests, understood |
//! | `texts`, `answer`, `spelling`, `error` | answers, in one piece or as a stream |
//! | `template` | what renders conversations |
//!
//! A text does not depend on what is generated beside it: draws are functions of seed, text and position, and the engine
//! gives the same bits in any company.

mod access;
mod answer;
mod body;
mod chat;
mod completions;
mod connection;
mod engine;
mod error;
mod fields;
mod gauges;
mod job;
mod options;
mod parameters;
mod routes;
mod scheduler;
mod spelling;
mod stream;
mod template;
mod texts;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use psann_core::{Error, Model, Observer, Result, Tokenizer};
use tch::Tensor;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::generate::check_vocabulary;
use crate::network::Network;
use error::ApiError;
use scheduler::{Limits, Queue};
use stream::Words;

pub use gauges::Gauges;
pub use options::ServerOptions;
pub use template::{ChatRequest, RenderChat};

/// Threads that speak HTTP. They wait most of the time: the machine belongs to the network.
const HTTP_THREADS: usize = 2;

/// Threads that understand requests.
const READING_THREADS: usize = 4;

/// How often the wish to stop is looked for.
const GLANCE: Duration = Duration::from_millis(50);

/// How long answers may take to leave after the last text has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// A model to serve. The server's own thread takes the weights.
pub struct ServedModel {
    /// The network.
    pub model: Arc<dyn Model>,
    /// Its parameters, one list a segment in spec order.
    pub parameters: Vec<Vec<Tensor>>,
    /// Its tokenizer.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// What renders conversations; without it there are no chat completions.
    pub chat: Option<Arc<dyn RenderChat>>,
    /// Tokens that end a text beside the tokenizer's end-of-text token: an instructed model often has its own.
    pub ends: Vec<u32>,
    /// What clients call it.
    pub name: String,
    /// Most tokens that it reads.
    pub context: usize,
}

/// What requests are answered from.
struct Api {
    name: String,
    tokenizer: Arc<dyn Tokenizer>,
    chat: Option<Arc<dyn RenderChat>>,
    context: usize,
    vocabulary: u64,
    max_tokens: usize,
    cached_tokens: usize,
    options: ServerOptions,
    key: Option<blake3::Hash>,
    queue: Queue,
    gauges: Arc<Gauges>,
    created: u64,
    random: RandomState,
    drawn: AtomicU64,
}

impl Api {
    /// Ids of a text as prompts mean it. An empty one starts behind what stood before every document in training.
    fn encode(&self, text: &str, around: bool) -> Result<Vec<u32>, ApiError> {
        let mut ids = self.tokenizer.encode_markup(text, around).map_err(|error| ApiError::from(&error))?;
        if ids.is_empty() {
            let special = self.tokenizer.special();
            let front = special.bos.or(special.eos).ok_or_else(|| {
                ApiError::invalid("the prompt is empty, and the tokenizer has no token to begin a text with")
            })?;
            ids.push(front);
        }
        Ok(ids)
    }

    /// A number that nobody asked for twice, for requests without a seed and for names of answers.
    fn seed(&self) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.drawn.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    }
}

/// A server that listens. [`Server::run`] answers.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    api: Arc<Api>,
    scheduler: JoinHandle<()>,
    observer: Arc<dyn Observer>,
}

impl Server {
    /// Checks the model and the options and begins to listen.
    ///
    /// # Errors
    /// When they do not fit together, or the address cannot be listened at.
    pub fn bind(model: ServedModel, options: ServerOptions, observer: Arc<dyn Observer>) -> Result<Self> {
        options.check()?;
        if model.context == 0 {
            return Err(Error::usage("a model cannot be served with a context of 0 tokens"));
        }
        check_vocabulary(Network::new(model.model.as_ref(), &model.parameters)?, model.tokenizer.as_ref())?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .max_blocking_threads(READING_THREADS)
            .thread_name("psann-http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::new("cannot start threads for the server").because(e))?;
        let cannot_listen = |e: std::io::Error| {
            let error = Error::new(format!("cannot listen at {}", options.address));
            let error = match e.kind() {
                std::io::ErrorKind::AddrInUse => error.hint("another program does; `--port 0` takes any free port"),
                std::io::ErrorKind::PermissionDenied => error.hint("ports below 1024 are for the system"),
                _ => error,
            };
            error.because(e)
        };
        let listener = runtime.block_on(async { connection::listen(options.address) }).map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;

        let gauges = Arc::new(Gauges::default());
        let (queue, inbox) = Queue::new(options.queue, Arc::clone(&gauges));
        let cached_tokens = options.cached_tokens.unwrap_or_else(|| options.streams.saturating_mul(model.context + 1));
        let api = Arc::new(Api {
            name: model.name,
            tokenizer: Arc::clone(&model.tokenizer),
            chat: model.chat,
            context: model.context,
            vocabulary: model.model.vocabulary().unsigned_abs(),
            max_tokens: options.max_tokens.unwrap_or(model.context).min(model.context),
            cached_tokens,
            key: options.key.as_ref().map(|key| blake3::hash(key.trim().as_bytes())),
            queue,
            gauges: Arc::clone(&gauges),
            created: unix_time(),
            random: RandomState::new(),
            drawn: AtomicU64::new(0),
            options,
        });
        let limits = Limits {
            streams: api.options.streams,
            prefill: api.options.prefill,
            cached_tokens,
            patience: api.options.patience,
        };
        let (network, parameters, tokenizer) = (model.model, model.parameters, model.tokenizer);
        let ends: Vec<u32> = model.ends.into_iter().chain(tokenizer.special().eos).collect();
        let schedule = move || {
            // Checked above; the thread takes the weights along because tensors are nobody's to share.
            let Ok(network) = Network::new(network.as_ref(), &parameters) else { return };
            let words = Words { tokenizer: tokenizer.as_ref(), ends: &ends };
            scheduler::run(network, words, &limits, &gauges, &inbox);
        };
        let scheduler = std::thread::Builder::new()
            .name("psann-scheduler".into())
            .spawn(schedule)
            .map_err(|e| Error::new("cannot start a thread for the network").because(e))?;
        Ok(Self { runtime, listener, address, api, scheduler, observer })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How busy it is.
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.api.gauges)
    }

    /// Answers until the observer asks to stop. Then nothing new is accepted, and what is in progress may finish within
    /// [`ServerOptions::grace`].
    ///
    /// # Errors
    /// When the thread of the network ends before that.
    pub fn run(self) -> Result<()> {
        let Self { runtime, listener, api, scheduler, observer, .. } = self;
        let (stop, stopping) = watch::channel(false);
        let router = routes::router(Arc::clone(&api), Arc::clone(&observer));
        let limits = api.options.connection();
        let gauges = Arc::clone(&api.gauges);
        runtime.block_on(async {
            let mut accepting = tokio::spawn(connection::accept(listener, router, limits, gauges, stopping));
            while !observer.stop_requested() && !scheduler.is_finished() {
                tokio::time::sleep(GLANCE).await;
            }
            // The receiver lives as long as anything is accepted.
            let _ = stop.send(true);
            let finished = tokio::time::timeout(api.options.grace, &mut accepting).await;
            api.queue.halt();
            if finished.is_err() {
                drop(tokio::time::timeout(FAREWELL, accepting).await);
            }
        });
        runtime.shutdown_timeout(FAREWELL);
        scheduler.join().map_err(|_| Error::new("the thread that runs the network panicked"))?;
        if observer.stop_requested() { Ok(()) } else { Err(Error::new("the thread that runs the network ended")) }
    }
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
