//! Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as a flag: the first asks for an orderly end, the second ends at once.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a second Ctrl-C: 128 + SIGINT, as a shell would see it.
const EXIT_AT_ONCE: i32 = 130;

/// Set once the user, or the system, has asked to stop.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. A terminal that is closed sends SIGHUP; SIGUSR1 is what `mpirun` passes on to its ranks, and Slurm can send before the time is up.
    pub fn install() -> Result<Self> {
        Self::listen(&[SIGINT, SIGTERM, SIGHUP, SIGUSR1])
    }

    /// Listens to Ctrl-C only; SIGTERM ends the program as ever.
    pub fn ctrl_c() -> Result<Self> {
        Self::listen(&[SIGINT])
    }

    fn listen(signals: &[i32]) -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for &signal in signals {
            // In this order: a signal ends the process only if an earlier one has set the flag.
            flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("cannot listen for Ctrl-C")?;
        }
        Ok(Self(asked))
    }

    /// Whether somebody has asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// After `false` the next Ctrl-C asks once more, after `true` it ends the program.
    pub fn set(&self, asked: bool) {
        self.0.store(asked, Ordering::Relaxed);
    }
}
