//! [`Access`]: one request in the log, from its arrival until its answer is told or nobody wants it any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use psann_core::{Event, Observer};

use super::answer::Usage;

/// Characters of an address that the log shows.
const SHOWN: usize = 120;

/// A request in progress. Its line is written when the last part of the server lets go of it, which for a stream is after
/// its last piece.
pub struct Access {
    observer: Arc<dyn Observer>,
    request: String,
    started: Instant,
    status: AtomicUsize,
    prompt: AtomicUsize,
    completion: AtomicUsize,
}

impl Access {
    /// A request that came in now.
    pub fn new(observer: Arc<dyn Observer>, peer: SocketAddr, method: &str, path: &str) -> Self {
        // Whatever a client sends stays one line of printable characters.
        let path: String = path.chars().take(SHOWN).flat_map(char::escape_default).collect();
        let request = format!("{peer} {method} {path}");
        let none = || AtomicUsize::new(0);
        Self { observer, request, started: Instant::now(), status: none(), prompt: none(), completion: none() }
    }

    /// What it was answered with.
    pub fn status(&self, status: u16) {
        self.status.store(status.into(), Ordering::Relaxed);
    }

    /// How many tokens it took so far.
    pub fn count(&self, usage: Usage) {
        self.prompt.store(usage.prompt, Ordering::Relaxed);
        self.completion.store(usage.completion, Ordering::Relaxed);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let outcome = match self.status.load(Ordering::Relaxed) {
            0 => "left".to_owned(),
            status => status.to_string(),
        };
        let tokens = match (self.prompt.load(Ordering::Relaxed), self.completion.load(Ordering::Relaxed)) {
            (0, 0) => String::new(),
            (prompt, completion) => format!(" · {prompt}+{completion} tokens"),
        };
        let milliseconds = self.started.elapsed().as_secs_f64() * 1e3;
        self.observer.event(Event::Note(format!("{} {outcome}{tokens} · {milliseconds:.1} ms", self.request)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Observer for Log {
        fn event(&self, event: Event) {
            if let Event::Note(line) = event {
                self.0.lock().unwrap().push(line);
            }
        }
    }

    #[test]
    fn a_request_is_one_line_whatever_its_address() {
        let log = Arc::new(Log::default());
        let access = |path: &str| {
            let log: Arc<dyn Observer> = Arc::<Log>::clone(&log);
            Access::new(log, SocketAddr::from(([127, 0, 0, 1], 80)), "GET", path)
        };
        let answered = access("/health");
        answered.status(200);
        answered.count(Usage { prompt: 12, completion: 5 });
        drop(answered);
        drop(access("/\u{1b}[31m\nx"));
        let lines = log.0.lock().unwrap();
        assert!(lines[0].starts_with("127.0.0.1:80 GET /health 200 · 12+5 tokens · "), "{lines:?}");
        assert!(lines[1].starts_with("127.0.0.1:80 GET /\\u{1b}[31m\\nx left · "), "{lines:?}");
    }
}
