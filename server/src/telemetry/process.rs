//! What the kernel knows of this process, under the names that every Prometheus client uses.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks per second in `/proc`: fixed at 100 by the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self` at each scrape; reports nothing where there is none.
#[derive(Debug)]
pub(super) struct Process;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    virtual_bytes: u64,
    start_ticks: u64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(reading) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| read_stat(&text))
        else {
            return Ok(());
        };
        let cpu = ConstCounter::new(reading.cpu_seconds);
        let help = "User and system CPU time in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let resident = fs::read_to_string("/proc/self/status").ok().and_then(|text| resident_bytes(&text));
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
        let start = boot.map(|boot| boot as f64 + reading.start_ticks as f64 / TICKS_PER_SECOND);
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
        gauge(
            "process_resident_memory_bytes",
            "Resident memory, mapped files included",
            resident.map(|n| n as f64),
        )?;
        gauge("process_virtual_memory_bytes", "Virtual memory", Some(reading.virtual_bytes as f64))?;
        gauge("process_start_time_seconds", "Start of the process since the Unix epoch", start)?;
        gauge("process_open_fds", "Open file descriptors", files)
    }
}

/// Fields of `/proc/self/stat`, counted behind the command's closing parenthesis.
fn read_stat(text: &str) -> Option<Reading> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let cpu_seconds = (number(11)? + number(12)?) as f64 / TICKS_PER_SECOND;
    Some(Reading { cpu_seconds, virtual_bytes: number(20)?, start_ticks: number(19)? })
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes() {
        let stat = "42 (odd ) name) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 8 0 12345 987654 300 18446744073709551615 1";
        let expected = Reading { cpu_seconds: 2.0, virtual_bytes: 987_654, start_ticks: 12_345 };
        assert_eq!(read_stat(stat), Some(expected));
        assert_eq!(read_stat("42 (short) S 1"), None);
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
        assert_eq!(boot_time("cpu 1 2 3\nbtime 1700000000\n"), Some(1_700_000_000));
    }
}
