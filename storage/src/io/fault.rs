//! Faults inside maps: the disk could not deliver a page of a mapped file, or the file was cut short meanwhile. The kernel tells
//! by SIGBUS, to the thread that touched the page; there is no value to go on with.
//!
//! The handler finds the file in a table of maps, notes file and offset on standard error and in a file that was opened
//! before, and ends the process. The next start reads that file with plain reads and sets it aside if they fail, so that one
//! bad sector is no crash loop.
//!
//! Everything that the handler touches is an atomic in a static, or a system call that POSIX allows in handlers.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};

/// The exit code of a process that a fault inside a map has ended.
pub const MAP_FAULT_EXIT_CODE: i32 = 74;

/// Maps that are known to the handler. A year of blocks are some hundred; beyond, a fault is told without its file.
const MAPS_MAX: usize = 4096;
/// The end of a longer path is kept.
const PATH_MAX: usize = 240;

static MAPS: [Slot; MAPS_MAX] = [const { Slot::FREE }; MAPS_MAX];
/// Where to look for a free slot first.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// The file for notes; -1 while there is none.
static NOTES: AtomicI32 = AtomicI32::new(-1);

/// One map. Written by whoever claimed it; `len` is 0 but while all the rest is right.
struct Slot {
    claimed: AtomicBool,
    start: AtomicUsize,
    len: AtomicUsize,
    path_len: AtomicUsize,
    path: [AtomicU8; PATH_MAX],
}

impl Slot {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "it is what each slot of the table begins with"
    )]
    const FREE: Self = Self {
        claimed: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        path_len: AtomicUsize::new(0),
        path: [const { AtomicU8::new(0) }; PATH_MAX],
    };
}

/// A map's entry in the table, for as long as it is mapped.
#[derive(Debug)]
pub(super) struct KnownMap(Option<usize>);

impl KnownMap {
    /// Enters a map.
    pub(super) fn enter(bytes: &[u8], path: &Path) -> Self {
        let path = path.as_os_str().as_encoded_bytes();
        let path = &path[path.len().saturating_sub(PATH_MAX)..];
        let first = NEXT.fetch_add(1, Ordering::Relaxed);
        let free = (0..MAPS_MAX).map(|i| (first + i) % MAPS_MAX).find(|at| {
            MAPS[*at].claimed.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if let Some(slot) = free.map(|at| &MAPS[at]) {
            slot.path.iter().zip(path).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
            slot.path_len.store(path.len(), Ordering::Relaxed);
            slot.start.store(bytes.as_ptr().addr(), Ordering::Relaxed);
            slot.len.store(bytes.len(), Ordering::Release);
        }
        Self(free)
    }
}

impl Drop for KnownMap {
    fn drop(&mut self) {
        if let Some(slot) = self.0.map(|at| &MAPS[at]) {
            slot.len.store(0, Ordering::Release);
            slot.claimed.store(false, Ordering::Release);
        }
    }
}

/// From now on a fault inside a map is noted at the end of the file `notes`, one line for each: the offset, a space, the path;
/// and ends the process with [`MAP_FAULT_EXIT_CODE`]. For the process as a whole, so only the binary calls it.
pub fn note_map_faults(notes: &Path) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(notes)?;
    // The handler may need it until the very end: it is never closed.
    NOTES.store(file.into_raw_fd(), Ordering::Release);
    // SAFETY: `action` is a plain structure of integers and a function address, for which zeroes are valid; the handler has
    // the signature that SA_SIGINFO asks for; all pointers are to locals that outlive the calls.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_fault(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid `info` to a handler that was installed with SA_SIGINFO, and SIGBUS fills in the address.
    let address = unsafe { (*info).si_addr() }.addr();
    let hit = |slot: &&Slot| {
        let (len, start) = (slot.len.load(Ordering::Acquire), slot.start.load(Ordering::Relaxed));
        (start..start.saturating_add(len)).contains(&address)
    };
    let Some(slot) = MAPS.iter().find(hit) else {
        // Not one of ours: what the system does without us, when the instruction is tried again.
        // SAFETY: resetting a signal to its default is allowed in handlers.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        return;
    };
    let mut line = Line::default();
    line.number(address - slot.start.load(Ordering::Relaxed));
    line.put(b" ");
    let len = slot.path_len.load(Ordering::Relaxed).min(PATH_MAX);
    slot.path[..len].iter().for_each(|b| line.put(&[b.load(Ordering::Relaxed)]));
    line.put(b"\n");
    let told =
        b"cardinal: a mapped file cannot be read; the next start reads it without a map. Offset and file: ";
    let notes = NOTES.load(Ordering::Acquire);
    // SAFETY: write, fsync and _exit are allowed in handlers; the buffers are valid for the lengths given.
    unsafe {
        libc::write(libc::STDERR_FILENO, told.as_ptr().cast(), told.len());
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len);
        libc::write(notes, line.bytes.as_ptr().cast(), line.len);
        libc::fsync(notes);
        libc::_exit(MAP_FAULT_EXIT_CODE)
    }
}

/// A line in the making, without an allocation.
struct Line {
    bytes: [u8; PATH_MAX + 32],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; PATH_MAX + 32], len: 0 }
    }
}

impl Line {
    fn put(&mut self, bytes: &[u8]) {
        for b in bytes {
            if let Some(to) = self.bytes.get_mut(self.len) {
                *to = *b;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, n: usize) {
        if n >= 10 {
            self.number(n / 10);
        }
        self.put(&[b'0' + (n % 10) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Fs, RealFs};
    use std::process::Command;

    const CHILD: &str = "CARDINAL_TEST_MAP_FAULT";

    /// Run by itself as the child of the test below: touches a map whose file was cut short.
    fn fault_in(dir: &Path) {
        let file = dir.join("mapped");
        std::fs::write(&file, vec![1; 300_000]).unwrap();
        note_map_faults(&dir.join("FAULTS")).unwrap();
        let region = RealFs.map(&file).unwrap();
        OpenOptions::new().write(true).open(&file).unwrap().set_len(100_000).unwrap();
        let sum: u64 = region.iter().map(|b| u64::from(*b)).sum();
        unreachable!("{sum} cannot be known");
    }

    #[test]
    fn a_fault_is_noted_and_ends_the_process() {
        if let Some(dir) = std::env::var_os(CHILD) {
            return fault_in(Path::new(&dir));
        }
        let dir = tempfile::tempdir().unwrap();
        let this = "io::fault::tests::a_fault_is_noted_and_ends_the_process";
        let child = Command::new(std::env::current_exe().unwrap())
            .args([this, "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(MAP_FAULT_EXIT_CODE), "{child:?}");
        let notes = std::fs::read_to_string(dir.path().join("FAULTS")).unwrap();
        let (offset, path) = notes.trim_end().split_once(' ').unwrap();
        assert_eq!(Path::new(path), dir.path().join("mapped"));
        // The page that the end is on is there.
        assert_eq!(offset, 100_000_usize.next_multiple_of(4096).to_string());
        let told = String::from_utf8_lossy(&child.stderr);
        assert!(told.contains("cannot be read") && told.contains(path), "{told}");
    }

    #[test]
    fn maps_come_and_go() {
        let bytes = [1u8; 10];
        let known = KnownMap::enter(&bytes, Path::new("/a/file"));
        let at = known.0.unwrap();
        assert_eq!(MAPS[at].len.load(Ordering::Relaxed), 10);
        drop(known);
        assert!(
            !MAPS[at].claimed.load(Ordering::Relaxed)
                || MAPS[at].start.load(Ordering::Relaxed) != bytes.as_ptr().addr()
        );
    }
}
