//! Threads that others come before.
//!
//! Stepping back in the scheduler's order is not enough: whenever a thread of ingest waits for a sync, the core goes to whoever is
//! left, and a merge that takes half a core in such gaps was measured to cost ingest a third of its pace. So long work also rests
//! while the process is busy with what somebody waits for.

use super::{Clock, ProcessorTime};
use std::time::Duration;

/// How much a thread steps back. The scheduler gives it a tenth of what an ordinary thread gets, where both want the core:
/// enough to come to an end on a machine that is never idle, too little to be felt.
const NICENESS: i32 = 10;

/// Lets other threads come before the calling one, for as long as it lives: for work that can wait. Where the system does
/// not do it by thread, or refuses, nothing changes.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "a background thread could not step back");
    }
}

/// How many steps go by between two looks at the clocks, and how much work between two rests.
const STEPS: u32 = 64;
const WORK: Duration = Duration::from_millis(4);
/// How long a rest is, in units of the work before it: a fifth of a core is left to work.
const REST: u32 = 4;

/// Long work in many steps, which rests while the process is busy otherwise.
#[derive(Debug)]
pub(crate) struct GivingWay<'a> {
    clock: &'a dyn Clock,
    cores: u32,
    steps: u32,
    /// At the end of the last piece of work.
    then: (Duration, ProcessorTime),
}

impl<'a> GivingWay<'a> {
    /// Work of the calling thread, beginning now.
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        let cores =
            std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Self { clock, cores, steps: 0, then: (clock.monotonic(), clock.processor()) }
    }

    /// To be called after each step, without a lock: rests where it is time to.
    pub(crate) fn step(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        if !self.steps.is_multiple_of(STEPS) {
            return;
        }
        let now = (self.clock.monotonic(), self.clock.processor());
        let passed = now.0.saturating_sub(self.then.0);
        let worked = now.1.thread.saturating_sub(self.then.1.thread);
        if worked < WORK {
            return;
        }
        let others = now.1.process.saturating_sub(self.then.1.process).saturating_sub(worked);
        // The rest counts for the next look, so that it is over more than a moment.
        self.then = now;
        if is_busy(others, passed, self.cores) {
            self.clock.sleep(worked * REST);
        }
    }
}

/// Whether others took more than half of the processor time that there was.
fn is_busy(others: Duration, passed: Duration, cores: u32) -> bool {
    others > passed * cores / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ManualClock;
    use crate::model::TimestampMs;
    use parking_lot::Mutex;

    /// A clock on which each look at the processor finds so much more of it taken.
    #[derive(Debug)]
    struct Busy {
        clock: ManualClock,
        taken: Mutex<ProcessorTime>,
        each: ProcessorTime,
    }

    impl Clock for Busy {
        fn now(&self) -> TimestampMs {
            self.clock.now()
        }

        fn monotonic(&self) -> Duration {
            self.clock.monotonic()
        }

        fn sleep(&self, d: Duration) {
            self.clock.sleep(d);
        }

        fn processor(&self) -> ProcessorTime {
            let mut taken = self.taken.lock();
            taken.process += self.each.process;
            taken.thread += self.each.thread;
            *taken
        }
    }

    fn slept(thread_ms: u64, process_ms: u64, looks: u32) -> Duration {
        let ms = Duration::from_millis;
        let each = ProcessorTime { process: ms(process_ms), thread: ms(thread_ms) };
        let clock = Busy { clock: ManualClock::new(TimestampMs(0)), taken: Mutex::default(), each };
        let mut work = GivingWay::new(&clock);
        work.cores = 2;
        for step in 1..=STEPS * looks {
            work.step();
            if step.is_multiple_of(STEPS) {
                clock.clock.advance(ms(thread_ms));
            }
        }
        clock.clock.monotonic() - ms(thread_ms) * looks
    }

    #[test]
    fn work_rests_only_while_others_are_busy() {
        assert_eq!(slept(4, 4, 9), Duration::ZERO, "alone");
        assert_eq!(
            slept(4, 8, 1),
            Duration::from_millis(16),
            "others had a core of two, and no time has passed yet"
        );
        assert!(slept(4, 200, 9) == Duration::from_millis(16 * 9), "others want all there is");
        assert_eq!(slept(0, 200, 9), Duration::ZERO, "nothing was done");
    }

    #[test]
    fn half_of_all_cores_is_busy() {
        let check = |others, passed, cores, want| {
            let ms = Duration::from_millis;
            assert_eq!(is_busy(ms(others), ms(passed), cores), want, "{others} in {passed} on {cores}");
        };
        check(0, 0, 2, false);
        check(10, 10, 2, false);
        check(11, 10, 2, true);
        check(19, 10, 4, false);
        check(6, 10, 1, true);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_calling_thread_steps_back() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let stepped_back = std::thread::spawn(move || {
            step_back();
            niceness()
        });
        assert_eq!(stepped_back.join().unwrap(), (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }
}
