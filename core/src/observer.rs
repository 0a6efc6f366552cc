//! [`Observer`]: how the engine tells what it does and learns that it should stop, knowing no terminal.

/// What the engine has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something worth a line.
    Note(String),
    /// Something the user should know and perhaps change.
    Warning(String),
    /// How far a piece of work has come.
    Progress {
        /// What is being done: `reading corpus.jsonl`.
        task: String,
        /// How much is done.
        done: u64,
        /// How much there is, when known.
        total: Option<u64>,
        /// What is counted: `documents`, `bytes`, `steps`.
        unit: &'static str,
        /// Numbers worth seeing beside it: `loss 3.21 · 12.3k tokens/s`.
        detail: String,
    },
    /// The piece of work is finished; its progress display may go.
    Done {
        /// As in `Progress`.
        task: String,
    },
}

/// Hears the events of a run. Shared between threads.
pub trait Observer: Send + Sync {
    /// Takes one event; must return quickly.
    fn event(&self, event: Event);

    /// Whether the user asked to stop. Long work asks between its steps, saves what it has and returns
    /// [`Error::interrupted`](crate::Error::interrupted).
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Hears nothing, for tests and benches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}
