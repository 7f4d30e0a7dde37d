//! What we run on: never what it is called or who works on it.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The system at this moment; what it does not say is absent.
pub(super) fn json(folder: &Path, now: Timestamp) -> Value {
    let owner = state::owner(folder);
    let running = owner.filter(|(_, owned)| *owned).map(|(pid, _)| pid);
    let disk = state::room(folder);
    let local = now.to_zoned_datetime(TimeZone::system());
    let memory = read("/proc/meminfo");
    let memory = memory.as_deref().unwrap_or_default();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "distribution": read("/etc/os-release").as_deref().and_then(pretty_name),
        "kernel": read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        "processor": read("/proc/cpuinfo").as_deref().and_then(|text| field(text, "model name", ':')),
        "processors": std::thread::available_parallelism().ok().map(std::num::NonZero::get),
        "load": read("/proc/loadavg").map(|text| text.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        "memory_total": field(memory, "MemTotal", ':'),
        "memory_available": field(memory, "MemAvailable", ':'),
        "memory_limit": read("/sys/fs/cgroup/memory.max").map(|text| text.trim().to_owned()),
        "disk_free_bytes": disk.map(|room| room.free_bytes),
        "disk_total_bytes": disk.map(|room| room.total_bytes),
        "clock": format!("{now:.3}"),
        "clock_here": local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "clock_synchronized": Path::new("/run/systemd/timesync/synchronized").exists().then_some(true),
        "uptime_seconds": read("/proc/uptime")
            .and_then(|text| Some(text.split('.').next()?.to_owned())),
        "agent": running.map(agent),
    })
}

/// The running agent's process.
fn agent(pid: u32) -> Value {
    let of = |name: &str| read(&format!("/proc/{pid}/{name}"));
    let status = of("status");
    let status = status.as_deref().unwrap_or_default();
    json!({
        "pid": pid,
        "memory": field(status, "VmRSS", ':'),
        "memory_peak": field(status, "VmHWM", ':'),
        "threads": field(status, "Threads", ':'),
        "files": std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count),
    })
}

fn read(path: &str) -> Option<String> {
    use std::io::Read as _;
    const MAX: u64 = 1 << 20;
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn pretty_name(text: &str) -> Option<String> {
    field(text, "PRETTY_NAME", '=').map(|name| name.trim_matches('"').to_owned())
}

/// What stands behind a name in files that have one in each line.
fn field(text: &str, name: &str, sign: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(sign)?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let text = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n";
        assert_eq!(pretty_name(text).as_deref(), Some("Debian GNU/Linux 13"));
        assert_eq!(
            field("MemTotal:  8 kB\n", "MemTotal", ':').as_deref(),
            Some("8 kB")
        );
        assert_eq!(field("", "MemTotal", ':'), None);
    }
}
