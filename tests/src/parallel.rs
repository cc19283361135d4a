//! Many independent cases on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `f` for each of the cases, on as many threads as there are cores; results in the order of the cases. A panic of a case is
/// the caller's, once the others at work have ended.
pub fn map<C: Sync, T: Send>(cases: &[C], f: impl Fn(&C) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return done };
            done.push((at, f(case)));
        }
    };
    let mut all = Vec::with_capacity(cases.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| {
                next.store(cases.len(), Ordering::Relaxed);
                std::panic::resume_unwind(panic)
            }));
        }
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}
