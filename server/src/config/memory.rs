//! How much memory this process may use: the least of what the machine has and what the process's cgroup, and those above it, allow.
//!
//! ```text
//! /proc/self/cgroup      4:memory:/a/b   (version 1)     0::/a/b   (version 2)
//! /proc/self/mountinfo   where each hierarchy is mounted, and which of its groups is seen there as the root
//! <mount>/b, <mount>     the files with the limits, as far up as can be seen
//! ```

use std::fs;
use std::path::{Path, PathBuf};

/// Files with a limit in bytes, or `max`. Beyond the high one a process is slowed down until it hardly runs.
const LIMIT_FILES: [&str; 3] = ["memory.max", "memory.high", "memory.limit_in_bytes"];
/// The usual mount points, looked at where the kernel does not tell.
const USUAL_MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];

/// Bytes that the cgroups, else the machine, allow. 1 GiB where neither can be read.
pub fn memory_available() -> u64 {
    memory_below(Path::new("/")).unwrap_or(1 << 30)
}

/// The same for a file system whose root is at `root`.
fn memory_below(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(below(root, Path::new(path)));
    let machine = read("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let of_groups = memory_groups(&groups, &mounts);
    let usual = USUAL_MOUNTS.iter().map(PathBuf::from);
    let limits = of_groups.into_iter().chain(usual).filter_map(|group| limit_of(&below(root, &group)));
    machine.into_iter().chain(limits).min()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The folders of all groups that limit this process's memory, as far as they are mounted.
fn memory_groups(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::of_line).collect();
    let mut folders = Vec::new();
    for (is_second, group) in groups.lines().filter_map(group_of_line) {
        for mount in mounts.iter().filter(|m| m.is_second == is_second) {
            // A container may see only its own part of the tree under the mount, and the host's path in its list of groups.
            let group = Path::new(group).strip_prefix(mount.root).unwrap_or(Path::new(""));
            // Of a group outside of what is seen here, the path leads upwards; the root is what limits it then.
            let is_inside = group.components().all(|c| matches!(c, std::path::Component::Normal(_)));
            let group = if is_inside { group } else { Path::new("") };
            folders.extend(group.ancestors().map(|a| Path::new(mount.point).join(a)));
        }
    }
    folders
}

/// Whether a line of `/proc/self/cgroup` is of version 2, and the group; `None` for hierarchies that do not limit memory.
fn group_of_line(line: &str) -> Option<(bool, &str)> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    let is_second = number == "0" && controllers.is_empty();
    let limits = is_second || controllers.split(',').any(|c| c == "memory");
    limits.then(|| (is_second, group.strip_prefix('/').unwrap_or(group)))
}

/// Where groups that may limit memory are mounted.
struct Mount<'a> {
    is_second: bool,
    /// The group that is seen as the root, without the slash in front.
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// Of a line of `/proc/self/mountinfo`: `id parent device root point options ... - type source options`.
    fn of_line(line: &'a str) -> Option<Self> {
        let (before, behind) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut behind = behind.split(' ');
        let (kind, options) = (behind.next()?, behind.nth(1).unwrap_or(""));
        let is_second = kind == "cgroup2";
        let limits = is_second || kind == "cgroup" && options.split(',').any(|o| o == "memory");
        limits.then_some(Self { is_second, root: root.strip_prefix('/').unwrap_or(root), point })
    }
}

/// The least limit that the files of a group's folder say.
fn limit_of(group: &Path) -> Option<u64> {
    let limit = |file: &str| cgroup_bytes(&fs::read_to_string(group.join(file)).ok()?);
    LIMIT_FILES.iter().filter_map(|file| limit(file)).min()
}

/// `None` for `max`: no limit of its own.
fn cgroup_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const FIRST: &str = "36 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
    const SECOND: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    /// What is allowed on a machine of 8 GiB with these groups of the process, mounts, and files.
    fn check(groups: &str, mounts: &str, files: &[(&str, &str)], want: u64) {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = below(root.path(), Path::new(path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:        22404444 kB\n");
        write("/proc/self/cgroup", groups);
        write("/proc/self/mountinfo", mounts);
        files.iter().for_each(|(path, text)| write(path, text));
        assert_eq!(memory_below(root.path()).unwrap() / MIB, want, "{groups} {files:?}");
    }

    #[test]
    fn the_least_limit_from_the_own_group_upwards_counts() {
        let max = "/sys/fs/cgroup/a/b/memory.max";
        let parent = "/sys/fs/cgroup/a/memory.max";
        check("0::/a/b\n", SECOND, &[(max, "1073741824\n"), (parent, "max\n")], 1024);
        check("0::/a/b\n", SECOND, &[(max, "max\n"), (parent, "536870912\n")], 512);
        check("0::/a/b\n", SECOND, &[(max, "268435456\n"), (parent, "536870912\n")], 256);
        check("0::/a/b\n", SECOND, &[(max, "max\n")], 8192);
        check("0::/a\n", SECOND, &[(max, "268435456\n")], 8192);
        check("0::/a/b\n", SECOND, &[("/sys/fs/cgroup/a/memory.high", "104857600\n")], 100);
        check("0::/\n", SECOND, &[("/sys/fs/cgroup/memory.max", "104857600\n")], 100);
    }

    #[test]
    fn version_one() {
        let groups = "5:cpu:/c\n4:hugetlb,memory:/x/y\n0::/\n";
        let own = "/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes";
        let parent = "/sys/fs/cgroup/memory/x/memory.limit_in_bytes";
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let none = "9223372036854771712\n";
        check(groups, FIRST, &[(own, "1073741824\n"), (parent, none), (root, none)], 1024);
        check(groups, FIRST, &[(own, none), (parent, "536870912\n")], 512);
        check(groups, FIRST, &[(own, none), (parent, none), (root, none)], 8192);
        check(groups, FIRST, &[("/sys/fs/cgroup/cpu/c/memory.limit_in_bytes", "1048576\n")], 8192);
    }

    #[test]
    fn containers_that_see_a_part_of_the_tree() {
        let mounts = "31 23 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let at = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let inner = "/sys/fs/cgroup/memory/app/memory.limit_in_bytes";
        check("4:memory:/docker/abc\n", mounts, &[(at, "536870912\n")], 512);
        check("4:memory:/docker/abc/app\n", mounts, &[(at, "536870912\n"), (inner, "268435456\n")], 256);
        check("4:memory:/elsewhere\n", mounts, &[(at, "536870912\n")], 512);
        check("0::/../../other\n", SECOND, &[("/sys/fs/cgroup/memory.max", "536870912\n")], 512);
        // Where the kernel tells nothing, the usual places.
        check("", "", &[("/sys/fs/cgroup/memory.max", "536870912\n")], 512);
        check("no such line\n::\n", "x - y\n- \n", &[(at, "536870912\n")], 512);
        check("", "", &[], 8192);
    }

    #[test]
    fn what_the_kernel_writes() {
        assert_eq!(machine_bytes("MemTotal:       24689764 kB\n"), Some(24_689_764 * 1024));
        assert_eq!(machine_bytes("MemTotal: lots\n"), None);
        assert_eq!(cgroup_bytes("max\n"), None);
        assert_eq!(cgroup_bytes("536870912\n"), Some(512 << 20));
    }

    #[test]
    fn some_memory_is_always_available() {
        assert!(memory_available() > 0);
    }
}
