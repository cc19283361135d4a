//! Threads that others come before.

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
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
