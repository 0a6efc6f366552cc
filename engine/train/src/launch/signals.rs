//! Signals to the launcher, which pass on to the ranks: they save and stop by themselves.

use std::sync::mpsc::SyncSender;
use std::thread;

use psann_core::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGTSTP, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use super::ranks::Message;

/// Turns signals into messages until it is dropped.
pub struct Listener {
    handle: Handle,
}

impl Listener {
    /// Listens to Ctrl-C, SIGTERM, SIGUSR1 (which batch systems send before time runs out) and Ctrl-Z.
    pub fn start(messages: SyncSender<Message>) -> Result<Self> {
        let refused = |e: std::io::Error| Error::new("cannot listen to signals").because(e);
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGTSTP]).map_err(refused)?;
        let handle = signals.handle();
        let listen = move || {
            for signal in signals.forever() {
                if messages.send(Message::Signal(signal)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen).map_err(refused)?;
        Ok(Self { handle })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// What the launcher was asked from outside, over all attempts.
#[derive(Debug, Default)]
pub struct Stop {
    requested: bool,
    killed: bool,
}

impl Stop {
    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.requested
    }

    /// Whether the ranks were killed because the user did not want to wait.
    pub fn killed(&self) -> bool {
        self.killed
    }

    /// Takes a signal; says whether it is the first, which is the one to pass on.
    pub fn hear(&mut self) -> bool {
        !std::mem::replace(&mut self.requested, true)
    }

    /// Notes that the ranks are being killed.
    pub fn kill(&mut self) {
        self.killed = true;
    }
}

/// Stops this process as Ctrl-Z does; comes back when it is continued.
pub fn suspend() {
    // Should the system refuse, the ranks are continued at once.
    _ = emulate_default_handler(SIGTSTP);
}
