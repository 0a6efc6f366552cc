//! [`SlowLink`]: makes a fast group as slow as a given network, for benches that ask how much a run depends on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use psann_core::collective::{Pending, Rows};
use psann_core::{Collective, Result};
use tch::Device;

use super::moves::Moves;

/// What time it is; replaced in tests.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Returns at `moment` or later.
    fn wait_until(&self, moment: Duration);
}

/// The time since it was made.
struct Stopwatch(Instant);

impl Clock for Stopwatch {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait_until(&self, moment: Duration) {
        std::thread::sleep(moment.saturating_sub(self.now()));
    }
}

/// A group behind a full-duplex link that delivers what this rank receives one operation after the other. An operation
/// is done when the group below is done with it and the link would have delivered its bytes; posting never blocks.
/// Latency, and the link's other end, are not simulated.
pub struct SlowLink {
    inner: Arc<dyn Collective>,
    link: Arc<Link>,
}

struct Link {
    bits_per_second: f64,
    clock: Box<dyn Clock>,
    /// When the link will have delivered all that was asked of it.
    free_at: Mutex<Duration>,
}

impl SlowLink {
    /// `inner` behind a link of this rate.
    pub fn new(inner: Arc<dyn Collective>, bits_per_second: f64) -> Self {
        Self::with_clock(inner, bits_per_second, Box::new(Stopwatch(Instant::now())))
    }

    /// The same in the time that `clock` tells.
    pub fn with_clock(inner: Arc<dyn Collective>, bits_per_second: f64, clock: Box<dyn Clock>) -> Self {
        Self { inner, link: Arc::new(Link { bits_per_second, clock, free_at: Mutex::default() }) }
    }

    fn delayed(&self, inner: Box<dyn Pending>, bytes: u64) -> Box<dyn Pending> {
        let due = self.link.accept(bytes);
        Box::new(Delayed { inner, due, link: Arc::clone(&self.link) })
    }
}

impl Link {
    /// When the link will have delivered `bytes` more.
    fn accept(&self, bytes: u64) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = bytes as f64 * 8.0 / self.bits_per_second;
        *free_at =
            (*free_at).max(self.clock.now()).saturating_add(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        *free_at
    }
}

struct Delayed {
    inner: Box<dyn Pending>,
    due: Duration,
    link: Arc<Link>,
}

impl Pending for Delayed {
    fn is_done(&self) -> bool {
        self.link.clock.now() >= self.due && self.inner.is_done()
    }

    fn wait(self: Box<Self>) -> Result<()> {
        self.inner.wait()?;
        self.link.clock.wait_until(self.due);
        Ok(())
    }
}

impl Collective for SlowLink {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        let bytes = Moves::gather(&parts, self.rank(), self.size())?.bytes_received();
        Ok(self.delayed(self.inner.start_gather(parts)?, bytes))
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        let bytes = Moves::exchange(&parts, self.rank(), self.size())?.bytes_received();
        Ok(self.delayed(self.inner.start_exchange(parts)?, bytes))
    }

    /// The subgroup shares the link.
    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>> {
        Ok(Arc::new(Self { inner: self.inner.subgroup(ranks)?, link: Arc::clone(&self.link) }))
    }

    fn bytes_sent(&self) -> u64 {
        self.inner.bytes_sent()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;
    use tch::{Kind, Tensor};

    /// Time that passes only when somebody waits or the test says so.
    #[derive(Clone, Default)]
    struct Manual(Arc<Mutex<Duration>>);

    impl Manual {
        fn pass(&self, seconds: f64) {
            *self.0.lock().unwrap() += Duration::from_secs_f64(seconds);
        }
    }

    impl Clock for Manual {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn wait_until(&self, moment: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = moment.max(*now);
        }
    }

    /// A group of two that receives 1000 bits a second: a gather of 125 foreign bytes takes one second.
    fn slow() -> (SlowLink, Manual) {
        let clock = Manual::default();
        (SlowLink::with_clock(Arc::new(Fake::new(0, 2)), 1000.0, Box::new(clock.clone())), clock)
    }

    fn gather(group: &dyn Collective) -> Box<dyn Pending> {
        let bytes = |count: i64| Tensor::zeros([count], (Kind::Uint8, Device::Cpu));
        group.start_gather(vec![Rows { whole: bytes(250), own: bytes(125), starts: vec![0, 125, 250] }]).unwrap()
    }

    #[test]
    fn operations_queue_on_the_link_and_posting_takes_no_time() {
        let (group, clock) = slow();
        let (first, second) = (gather(&group), gather(&*group.subgroup(&[0, 1]).unwrap()));
        assert_eq!(clock.now(), Duration::ZERO);
        assert!(!first.is_done());
        second.wait().unwrap();
        assert_eq!(clock.now(), Duration::from_secs(2));
        assert!(first.is_done());
    }

    #[test]
    fn waiting_takes_only_what_is_left_and_an_idle_link_saves_nothing_up() {
        let (group, clock) = slow();
        clock.pass(10.0);
        let pending = gather(&group);
        clock.pass(0.75);
        pending.wait().unwrap();
        assert_eq!(clock.now(), Duration::from_secs(11));
        let late = gather(&group);
        clock.pass(5.0);
        late.wait().unwrap();
        assert_eq!(clock.now(), Duration::from_secs(16));
    }
}
