//! How much memory this process may use.

use std::fs;

/// Bytes that the cgroup, else the machine, allows. 1 GiB where neither can be read.
pub fn memory_available() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let cgroups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup = cgroups.iter().find_map(|path| cgroup_bytes(&fs::read_to_string(path).ok()?));
    machine.into_iter().chain(cgroup).min().unwrap_or(1 << 30)
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `None` for `max`: no limit of its own.
fn cgroup_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes() {
        let meminfo = "MemTotal:       24689764 kB\nMemFree:        22404444 kB\n";
        assert_eq!(machine_bytes(meminfo), Some(24_689_764 * 1024));
        assert_eq!(machine_bytes("MemTotal: lots\n"), None);
        assert_eq!(cgroup_bytes("max\n"), None);
        assert_eq!(cgroup_bytes("536870912\n"), Some(512 << 20));
    }

    #[test]
    fn some_memory_is_always_available() {
        assert!(memory_available() > 0);
    }
}
