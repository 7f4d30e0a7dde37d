//! What the system says of this process, where it says it in files.

use std::path::Path;

/// Memory and files of this process; absent where the system does not say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) memory_bytes: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) files_max: Option<u64>,
}

impl Process {
    /// As it is now.
    pub(super) fn now() -> Self {
        let read = |name: &str| std::fs::read_to_string(Path::new("/proc/self").join(name)).ok();
        let files = std::fs::read_dir("/proc/self/fd").ok();
        Self {
            memory_bytes: read("status").as_deref().and_then(memory),
            // One of them is the folder that is being read.
            files: files.map(|files| (files.count() as u64).saturating_sub(1)),
            files_max: read("limits").as_deref().and_then(files_max),
        }
    }
}

fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1 << 10)
}

fn files_max(limits: &str) -> Option<u64> {
    let line = limits.strip_prefix("Max open files");
    let line = line.or_else(|| limits.split("\nMax open files").nth(1))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(memory("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        let limits = "Limit  Soft  Hard\nMax open files            1024   4096   files\n";
        assert_eq!(files_max(limits), Some(1_024));
        assert_eq!((memory("x"), files_max("y")), (None, None));
    }
}
