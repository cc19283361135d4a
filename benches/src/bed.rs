//! A database on the real disk, in a directory that goes with it, and a writer into it.

use crate::telecom::{self, Fleet, compress};
use cardinal_ingest::{Response, WriteOptions, Writer};
use cardinal_storage::database::{Database, DatabaseOptions, SeriesLimits};
use cardinal_storage::io::ManualClock;
use prost::Message;
use std::ops::Range;
use std::sync::Arc;
use tempfile::TempDir;

/// The database with what belongs to it. Time stands at the tick it was last told.
#[derive(Debug)]
pub struct Bed {
    /// The database.
    pub database: Arc<Database>,
    /// The way in.
    pub writer: Writer,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

/// Ticks in one request of [`Bed::load`].
const TICKS_PER_REQUEST: u32 = 40;

impl Bed {
    /// An empty database. `background` is whether threads of its own write chunks, cut windows and make checkpoints.
    ///
    /// # Panics
    /// Where the temporary directory cannot be written.
    pub fn new(background: bool) -> Self {
        Self::limited(background, SeriesLimits::default())
    }

    /// As [`Self::new`], with limits on series.
    ///
    /// # Panics
    /// Where the temporary directory cannot be written.
    pub fn limited(background: bool, limits: SeriesLimits) -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let clock = Arc::new(ManualClock::new(telecom::START));
        let options =
            DatabaseOptions { background, limits, clock: clock.clone(), ..DatabaseOptions::new(dir.path()) };
        let database = Database::open(options).expect("an empty directory opens");
        let writer = Writer::new(database.clone(), clock.clone(), WriteOptions::default());
        Self { database, writer, clock, _dir: dir }
    }

    /// Writes one body as if it was the time of `tick`. The answer is not waited for.
    ///
    /// # Panics
    /// Where the gate is closed: these benches never send that much at once.
    pub fn write(&self, body: &[u8], tick: u32) -> Response {
        self.clock.set(telecom::time(tick));
        let permit = self.writer.admit(body.len()).expect("the gate is open");
        self.writer.write(body, permit)
    }

    /// Stores the samples of `ticks` for all of a fleet, durably.
    ///
    /// # Panics
    /// Where any of them is refused.
    pub fn load(&self, fleet: &Fleet, ticks: Range<u32>) {
        let mut from = ticks.start;
        while from < ticks.end {
            let until = ticks.end.min(from + TICKS_PER_REQUEST);
            let series = fleet.series().len();
            for first in (0..series).step_by(1000) {
                let request = fleet.request(first..series.min(first + 1000), from..until);
                let response = self.write(&compress(&request.encode_to_vec()), until);
                response.wait().expect("every sample is valid");
            }
            from = until;
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Before its directory goes; a bench has nothing to do about a disk that fails now.
        let _ = self.database.close();
    }
}
