//! Ctrl-C and SIGTERM: the first asks the work to save and stop, the second ends the process at once. SIGUSR1, which
//! batch systems send before time runs out, asks as well and does not count as a first: SIGTERM may follow while the
//! work is being saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use psann_core::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// Exit code of a run that the user stopped.
pub const INTERRUPTED: u8 = 130;

/// Whether the user asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to Ctrl-C, SIGTERM and SIGUSR1 from now on.
    pub fn listen() -> Result<Self> {
        let stop = Self::default();
        stop.register().map_err(|e| Error::new("cannot listen to Ctrl-C").because(e))?;
        Ok(stop)
    }

    fn register(&self) -> std::io::Result<()> {
        let insistent = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the exit is armed by the flag that the second line sets, so only a second signal meets it.
            flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&insistent))?;
            flag::register(signal, Arc::clone(&insistent))?;
        }
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            flag::register(signal, Arc::clone(&self.requested))?;
        }
        Ok(())
    }

    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}
