//! Ctrl-C and SIGTERM: the first asks the work to save and stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use psann_core::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a run that the user stopped.
pub const INTERRUPTED: u8 = 130;

/// Whether the user asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to Ctrl-C and SIGTERM from now on.
    pub fn listen() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the exit is armed by the flag that the second line sets, so only a second signal meets it.
            flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&stop.requested))
                .and_then(|_| flag::register(signal, Arc::clone(&stop.requested)))
                .map_err(|e| Error::new("cannot listen to Ctrl-C").because(e))?;
        }
        Ok(stop)
    }

    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}
