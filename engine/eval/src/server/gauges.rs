//! [`Gauges`]: how busy the server is, for `/health` and for whoever watches that nothing leaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of what is going on right now.
#[derive(Debug, Default)]
pub struct Gauges {
    streams: AtomicUsize,
    waiting: AtomicUsize,
    reserved_tokens: AtomicUsize,
    connections: AtomicUsize,
}

impl Gauges {
    /// Texts in progress: each holds a cache.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }

    /// Texts that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Tokens that the texts in progress may grow to together.
    pub fn reserved_tokens(&self) -> usize {
        self.reserved_tokens.load(Ordering::SeqCst)
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Counts a text in progress that may grow to `tokens`.
    pub(super) fn stream(self: &Arc<Self>, tokens: usize) -> Counted {
        Counted::new(self, Amounts { streams: 1, reserved_tokens: tokens, ..Amounts::default() })
    }

    /// Counts a text that waits.
    pub(super) fn wait(self: &Arc<Self>) -> Counted {
        Counted::new(self, Amounts { waiting: 1, ..Amounts::default() })
    }

    /// Counts an open connection.
    pub(super) fn connection(self: &Arc<Self>) -> Counted {
        Counted::new(self, Amounts { connections: 1, ..Amounts::default() })
    }

    fn each(&self, amounts: &Amounts, apply: impl Fn(&AtomicUsize, usize)) {
        apply(&self.streams, amounts.streams);
        apply(&self.waiting, amounts.waiting);
        apply(&self.reserved_tokens, amounts.reserved_tokens);
        apply(&self.connections, amounts.connections);
    }
}

#[derive(Default)]
struct Amounts {
    streams: usize,
    waiting: usize,
    reserved_tokens: usize,
    connections: usize,
}

/// Something that is counted for as long as this lives.
pub(super) struct Counted {
    gauges: Arc<Gauges>,
    amounts: Amounts,
}

impl Counted {
    fn new(gauges: &Arc<Gauges>, amounts: Amounts) -> Self {
        gauges.each(&amounts, |gauge, amount| {
            gauge.fetch_add(amount, Ordering::SeqCst);
        });
        Self { gauges: Arc::clone(gauges), amounts }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauges.each(&self.amounts, |gauge, amount| {
            gauge.fetch_sub(amount, Ordering::SeqCst);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_counted() {
        let gauges = Arc::new(Gauges::default());
        let stream = gauges.stream(40);
        let (_wait, _connection) = (gauges.wait(), gauges.connection());
        assert_eq!((gauges.streams(), gauges.waiting()), (1, 1));
        assert_eq!((gauges.reserved_tokens(), gauges.connections()), (40, 1));
        drop(stream);
        assert_eq!((gauges.streams(), gauges.reserved_tokens(), gauges.waiting()), (0, 0, 1));
    }
}
