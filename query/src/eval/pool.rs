//! Workers that read parts side by side.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The threads that all queries of an engine may use beside their own: a bound, not a queue. Who finds none free
/// works alone, so that a single heavy query uses all and many queries do not fight.
#[derive(Debug)]
pub(crate) struct Pool {
    free: AtomicUsize,
}

/// Fewer series than this are not worth starting a thread for (some 20 µs).
const SERIES_PER_THREAD: u64 = 512;

impl Pool {
    /// At most `threads` work on one query, its own included.
    pub(crate) fn new(threads: usize) -> Self {
        Self { free: AtomicUsize::new(threads.saturating_sub(1)) }
    }

    /// Applies `f` to every item, which hold some `series` series in total; the results are in the items' order,
    /// whoever worked on them. After a failure no further item is begun, and the first one (in the items' order)
    /// is returned.
    pub(crate) fn run<T: Send, R: Send, E: Send>(
        &self,
        items: Vec<T>,
        series: u64,
        f: impl Fn(T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let wanted = items.len().saturating_sub(1).min((series / SERIES_PER_THREAD) as usize);
        let extra = self.take(wanted);
        if extra.count == 0 {
            return items.into_iter().map(f).collect();
        }
        let mut results: Vec<Option<Result<R, E>>> = items.iter().map(|_| None).collect();
        let queue = Mutex::new(items.into_iter().zip(results.iter_mut()));
        let work = || {
            loop {
                let next = queue.lock().next();
                let Some((item, slot)) = next else { return };
                let result = f(item);
                let failed = result.is_err();
                *slot = Some(result);
                if failed {
                    let mut queue = queue.lock();
                    while queue.next().is_some() {}
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..extra.count {
                scope.spawn(work);
            }
            work();
        });
        drop(queue);
        // A missing result was never begun, for a failure that stands elsewhere in the list.
        results.into_iter().flatten().collect()
    }

    fn take(&self, wanted: usize) -> ExtraThreads<'_> {
        let mut count = 0;
        let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            count = wanted.min(free);
            Some(free - count)
        });
        ExtraThreads { pool: self, count }
    }
}

/// Threads taken from the pool; given back on drop.
struct ExtraThreads<'a> {
    pool: &'a Pool,
    count: usize,
}

impl Drop for ExtraThreads<'_> {
    fn drop(&mut self) {
        self.pool.free.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_whoever_worked() {
        for threads in [1, 4] {
            let pool = Pool::new(threads);
            let squares: Result<Vec<usize>, ()> = pool.run((0..100).collect(), 1 << 20, |i| Ok(i * i));
            assert_eq!(squares.unwrap(), (0..100).map(|i| i * i).collect::<Vec<_>>());
            assert_eq!(pool.free.load(Ordering::Relaxed), threads - 1);
        }
    }

    #[test]
    fn a_failure_ends_the_rest() {
        for threads in [1, 4] {
            let pool = Pool::new(threads);
            let failed: Result<Vec<usize>, usize> =
                pool.run((0..100).collect(), 1 << 20, |i| if i == 30 { Err(i) } else { Ok(i) });
            assert_eq!(failed, Err(30));
        }
    }
}
