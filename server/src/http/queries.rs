//! Queries that run now, and the slowest of those that are over.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cardinal_query::{CancelToken, Progress};
use cardinal_storage::model::TimestampMs;
use tokio::sync::Notify;

use super::error::{ApiError, ErrorKind, Limit};
use super::params::Steps;

/// Queries that are over are kept if they are among so many that took longest: a screenful.
pub(super) const SLOWEST_KEPT: usize = 50;
/// Bytes that are kept of a query's text.
const TEXT_BYTES_KEPT: usize = 2 << 10;

/// All queries of a server.
#[derive(Debug, Default)]
pub struct Queries {
    last_id: AtomicU64,
    running: Mutex<BTreeMap<u64, Arc<Running>>>,
    /// Longest first.
    slowest: Mutex<Vec<Finished>>,
}

/// What was asked, by whom.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The query, cut where it is long.
    pub text: String,
    /// Whether it was cut.
    pub is_cut: bool,
    /// For which times.
    pub times: AskedTimes,
    /// Whose connection it came through; `None` where there is none, as in tests.
    pub client: Option<SocketAddr>,
}

/// The times that a query is evaluated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedTimes {
    /// One.
    Instant(TimestampMs),
    /// A range.
    Range(Steps),
}

/// A query that waits or is being worked on.
#[derive(Debug)]
pub struct Running {
    /// Its number since the start of the process.
    pub id: u64,
    /// What was asked.
    pub asked: Asked,
    /// When it came.
    pub came: TimestampMs,
    /// The same, to measure from.
    pub began: Instant,
    /// Whether it has had its turn.
    pub has_turn: AtomicBool,
    /// How far it has come.
    pub progress: Progress,
    pub(super) cancel: CancelToken,
    is_killed: AtomicBool,
    kill: Notify,
}

/// A query that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its number since the start of the process.
    pub id: u64,
    /// What was asked.
    pub asked: Asked,
    /// When it came.
    pub came: TimestampMs,
    /// From then until the last byte of its answer was handed over.
    pub took: Duration,
    /// Series found, samples read, the most samples held.
    pub series: u64,
    /// See there.
    pub samples: u64,
    /// See there.
    pub held_max: u64,
    /// Why there was no answer; `None` where there was.
    pub error: Option<(ErrorKind, String)>,
}

/// A query's place in the list; given up when dropped.
#[derive(Debug)]
pub struct Listed {
    queries: Arc<Queries>,
    /// The query.
    pub running: Arc<Running>,
    error: Option<(ErrorKind, String)>,
}

impl Asked {
    /// A query with its times.
    pub fn new(text: &str, times: AskedTimes, client: Option<SocketAddr>) -> Self {
        let end = text.floor_char_boundary(TEXT_BYTES_KEPT);
        Self { text: text[..end].to_owned(), is_cut: end < text.len(), times, client }
    }
}

impl Queries {
    /// Lists a query that came now.
    pub fn list(self: &Arc<Self>, asked: Asked, came: TimestampMs) -> Listed {
        let running = Arc::new(Running {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            asked,
            came,
            began: Instant::now(),
            has_turn: AtomicBool::new(false),
            progress: Progress::default(),
            cancel: CancelToken::default(),
            is_killed: AtomicBool::new(false),
            kill: Notify::new(),
        });
        self.running.lock().insert(running.id, running.clone());
        let gone = Some((ErrorKind::Canceled, "it ended without an answer".to_owned()));
        Listed { queries: self.clone(), running, error: gone }
    }

    /// Those that wait or are being worked on, oldest first.
    pub fn running(&self) -> Vec<Arc<Running>> {
        self.running.lock().values().cloned().collect()
    }

    /// Of those that are over, the ones that took longest, longest first.
    pub fn slowest(&self) -> Vec<Finished> {
        self.slowest.lock().clone()
    }

    /// Ends the query `id` soon; whether there is one.
    pub fn kill(&self, id: u64) -> bool {
        let Some(running) = self.running.lock().get(&id).cloned() else { return false };
        running.is_killed.store(true, Ordering::Relaxed);
        running.cancel.cancel();
        running.kill.notify_one();
        true
    }

    fn over(&self, finished: Finished) {
        let mut slowest = self.slowest.lock();
        let at = slowest.partition_point(|f| f.took >= finished.took);
        slowest.insert(at, finished);
        slowest.truncate(SLOWEST_KEPT);
    }
}

impl Running {
    /// Resolves once it is killed.
    pub async fn killed(&self) {
        self.kill.notified().await;
    }

    fn killed_error(&self) -> ApiError {
        let message =
            format!("query was canceled: it was killed (DELETE /api/v1/status/queries/{})", self.id);
        ApiError::new(ErrorKind::Canceled, message).limit(Limit::Killed)
    }
}

impl Listed {
    /// Notes how it ended, and gives up its place. Whatever a killed query says, it was killed.
    pub fn end(mut self, outcome: Result<(), ApiError>) -> Result<(), ApiError> {
        let is_killed = self.running.is_killed.load(Ordering::Relaxed);
        let outcome = outcome.map_err(|e| if is_killed { self.running.killed_error() } else { e });
        self.error = outcome.as_ref().err().map(|e| (e.kind, e.message.clone()));
        outcome
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let running = &self.running;
        self.queries.running.lock().remove(&running.id);
        self.queries.over(Finished {
            id: running.id,
            asked: running.asked.clone(),
            came: running.came,
            took: running.began.elapsed(),
            series: running.progress.series(),
            samples: running.progress.samples_decoded(),
            held_max: running.progress.samples_held_max(),
            error: self.error.take(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Asked {
        Asked::new(text, AskedTimes::Instant(TimestampMs(0)), None)
    }

    #[test]
    fn the_slowest_are_kept_and_no_more() {
        let queries = Queries::default();
        let finished = |id: u64, ms: u64| Finished {
            id,
            asked: asked("up"),
            came: TimestampMs(0),
            took: Duration::from_millis(ms),
            series: 0,
            samples: 0,
            held_max: 0,
            error: None,
        };
        (0..200).for_each(|id| queries.over(finished(id, (id * 37) % 200)));
        let took: Vec<_> = queries.slowest().iter().map(|f| f.took.as_millis()).collect();
        assert_eq!(took, (150..200).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_place_is_given_up_with_how_it_ended() {
        let queries = Arc::new(Queries::default());
        let (a, b) = (queries.list(asked("a"), TimestampMs(1)), queries.list(asked("b"), TimestampMs(2)));
        assert_eq!(queries.running().iter().map(|r| r.id).collect::<Vec<_>>(), [1, 2]);
        assert!(queries.kill(2) && !queries.kill(3));
        assert!(a.end(Ok(())).is_ok());
        let error = b.end(Err(ApiError::bad_data("something else"))).expect_err("killed");
        assert_eq!((error.kind, error.limit), (ErrorKind::Canceled, Some(Limit::Killed)));
        drop(queries.list(asked("c"), TimestampMs(3)));
        assert!(queries.running().is_empty());
        let mut ends: Vec<_> = queries.slowest().iter().map(|f| (f.id, f.error.is_some())).collect();
        ends.sort_unstable();
        assert_eq!(ends, [(1, false), (2, true), (3, true)]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = asked(&format!("{}€", "x".repeat(TEXT_BYTES_KEPT - 1)));
        assert_eq!((long.text.len(), long.is_cut), (TEXT_BYTES_KEPT - 1, true));
        assert!(!asked("up").is_cut);
    }
}
