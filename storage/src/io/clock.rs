//! The time of day and the time that passes.

use crate::model::TimestampMs;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day. It may jump, in both directions.
    fn now(&self) -> TimestampMs;

    /// The time since some fixed moment. It never goes back.
    fn monotonic(&self) -> Duration;

    /// Lets `d` pass.
    fn sleep(&self, d: Duration);

    /// The processor time that was taken so far.
    fn processor(&self) -> ProcessorTime;
}

/// Processor time since the start; zero where the system does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// Of all threads of the process.
    pub process: Duration,
    /// Of the calling thread.
    pub thread: Duration,
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        TimestampMs(ms)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, d: Duration) {
        std::thread::sleep(d);
    }

    #[cfg(unix)]
    fn processor(&self) -> ProcessorTime {
        use rustix::time::{ClockId, clock_gettime};
        let of = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        ProcessorTime { process: of(ClockId::ProcessCPUTime), thread: of(ClockId::ThreadCPUTime) }
    }

    #[cfg(not(unix))]
    fn processor(&self) -> ProcessorTime {
        ProcessorTime::default()
    }
}

/// A clock that stands still until it is moved. `sleep` moves it and returns at once. No work takes processor time.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    passed_ns: AtomicU64,
}

impl ManualClock {
    /// A clock at `now`.
    pub fn new(now: TimestampMs) -> Self {
        Self { now_ms: AtomicI64::new(now.0), passed_ns: AtomicU64::new(0) }
    }

    /// Lets `d` pass. The time of day counts whole milliseconds of each call.
    pub fn advance(&self, d: Duration) {
        let ms = i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.passed_ns.fetch_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Makes the time of day jump; no time passes.
    pub fn set(&self, now: TimestampMs) {
        self.now_ms.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.passed_ns.load(Ordering::SeqCst))
    }

    fn sleep(&self, d: Duration) {
        self.advance(d);
    }

    fn processor(&self) -> ProcessorTime {
        ProcessorTime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_moved() {
        let clock = ManualClock::new(TimestampMs(5));
        clock.advance(Duration::from_millis(10));
        clock.sleep(Duration::from_millis(1));
        assert_eq!((clock.now(), clock.monotonic()), (TimestampMs(16), Duration::from_millis(11)));
        clock.set(TimestampMs(-1));
        assert_eq!((clock.now(), clock.monotonic()), (TimestampMs(-1), Duration::from_millis(11)));
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock::default();
        let a = clock.monotonic();
        assert!(clock.monotonic() >= a);
        assert!(clock.now() > TimestampMs(1_577_836_800_000));
    }

    #[test]
    #[cfg(unix)]
    fn work_takes_processor_time() {
        let clock = SystemClock::default();
        let before = clock.processor();
        while clock.processor().thread == before.thread {}
        let after = clock.processor();
        assert!(after.process > before.process && after.process >= after.thread);
    }
}
