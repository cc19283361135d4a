//! The threads that maintain the directory.

use super::write_out::{WRITE_OUT_EVERY, WriteOut};
use super::{Database, DatabaseOptions};
use crate::io::step_back;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is looked whether blocks are to be merged or dropped.
const COMPACT_EVERY: Duration = Duration::from_secs(5);
/// How many periods a thread rests after a panic.
const PANIC_PAUSE: u32 = 60;

impl Database {
    /// Starts the threads that maintain the directory.
    pub(super) fn start_threads(self: &Arc<Self>) -> io::Result<()> {
        self.start_thread("maintain", DatabaseOptions::TICK, |database| database.maintain())?;
        let mut stepped_back = false;
        self.start_thread("compact", COMPACT_EVERY, move |database| {
            if !std::mem::replace(&mut stepped_back, true) {
                step_back();
            }
            database.compact_due();
        })?;
        let mut write_out = WriteOut::new();
        self.start_thread("head-log", WRITE_OUT_EVERY, move |database| write_out.run(database))
    }

    /// Runs `work` every `period` until the database is closed or gone. A panic is told and counted, and ends but this run: a
    /// database whose head is never cut again would fill memory in silence.
    pub(super) fn start_thread(
        self: &Arc<Self>,
        name: &str,
        period: Duration,
        mut work: impl FnMut(&Self) + Send + 'static,
    ) -> io::Result<()> {
        let (stop, stopped) = crossbeam::channel::bounded::<()>(0);
        let database = Arc::downgrade(self);
        let run = move || {
            let mut wait = period;
            while let Err(crossbeam::channel::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                let Some(database) = database.upgrade() else { return };
                // What is half done is either not in force (blocks without an edit) or done again.
                let outcome = catch_unwind(AssertUnwindSafe(|| work(&database)));
                wait = if outcome.is_ok() { period } else { period * PANIC_PAUSE };
                if outcome.is_err() {
                    database.counters.panics.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        thread = std::thread::current().name(),
                        "a fault of Cardinal: a background thread panicked; it goes on after a while"
                    );
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        self.threads.lock().push((stop, thread));
        Ok(())
    }
}
