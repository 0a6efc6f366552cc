//! What plugins get of the world around them: the user's log, numbers for the report, the wish to stop.
//!
//! They belong to the process, as plugins do: the program sets them once, before it makes a plugin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use psann_sdk::abi::PsannHost;
use psann_sdk::call::{self, Level, Listener};

/// Takes a line for the user.
pub type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// Where lines go and where the wish to stop comes from.
pub struct Surroundings {
    /// A line for the user; it already says which plugin speaks.
    pub log: Log,
    /// Whether the user asked to stop.
    pub cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
}

static SURROUNDINGS: OnceLock<Surroundings> = OnceLock::new();

/// Numbers by plugin and name.
pub type Metrics = BTreeMap<String, BTreeMap<String, f64>>;

static METRICS: Mutex<Metrics> = Mutex::new(BTreeMap::new());

/// Sets the surroundings; later calls change nothing.
pub fn set(surroundings: Surroundings) {
    // Whoever came first speaks for the process.
    drop(SURROUNDINGS.set(surroundings));
}

/// Writes a line to the user's log.
pub fn log(level: Level, message: &str) {
    if let Some(surroundings) = SURROUNDINGS.get() {
        (surroundings.log)(level, message);
    }
}

/// Whether the user asked to stop.
pub fn is_cancelled() -> bool {
    SURROUNDINGS.get().is_some_and(|surroundings| (surroundings.cancelled)())
}

/// The numbers that plugins added up since this was last asked.
pub fn take_metrics() -> Metrics {
    std::mem::take(&mut *METRICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The host's table for one plugin.
pub fn table(plugin: String) -> &'static PsannHost {
    call::host(Ear { plugin })
}

/// Hears one plugin.
struct Ear {
    plugin: String,
}

impl Listener for Ear {
    fn log(&self, level: Level, message: &str) {
        log(level, &format!("plugin `{}`: {message}", self.plugin));
    }

    fn metric(&self, name: &str, value: f64) {
        let mut metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
        *metrics.entry(self.plugin.clone()).or_default().entry(name.to_owned()).or_default() += value;
    }

    fn is_cancelled(&self) -> bool {
        is_cancelled()
    }
}
