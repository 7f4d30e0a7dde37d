//! Whether a package manager looks after a binary: what it put there is its own to replace.

use std::path::Path;
use std::process::{Command, Stdio};

use contract::Finding;

/// A package manager, and how it is asked whose a file is.
struct Manager {
    program: &'static str,
    arguments: &'static [&'static str],
    /// What takes its place in a newer version, and in an older one.
    newer: &'static str,
    older: &'static str,
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "dpkg-query",
        arguments: &["-S"],
        newer: "apt-get install ./lighterman_<version>_<machine>.deb (docs/operating/upgrade.md)",
        older: "apt-get install --allow-downgrades ./lighterman_<older version>_<machine>.deb",
    },
    Manager {
        program: "rpm",
        arguments: &["-qf"],
        newer: "dnf upgrade ./lighterman-<version>.<machine>.rpm (docs/operating/upgrade.md)",
        older: "dnf downgrade ./lighterman-<older version>.<machine>.rpm",
    },
];

/// What to run where a package manager looks after a binary: for a newer version, and for an older one.
pub(super) struct Owned {
    pub(super) by: &'static str,
    pub(super) newer: &'static str,
    pub(super) older: &'static str,
}

/// Who looks after a binary; `None` = nobody but whoever put it there.
pub(super) fn owned(binary: &Path) -> Option<Owned> {
    MANAGERS.iter().find_map(|manager| {
        let asked = Command::new(manager.program)
            .args(manager.arguments)
            .arg(binary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // One that is not there owns nothing.
        asked.is_ok_and(|status| status.success()).then_some(Owned {
            by: manager.program,
            newer: manager.newer,
            older: manager.older,
        })
    })
}

impl Owned {
    /// That it is not ours to replace.
    pub(super) fn refused(&self, binary: &Path) -> Finding {
        let found = format!(
            "{} belongs to a package ({} says so), which would put its own back",
            binary.display(),
            self.by
        );
        Finding::fail("binary", found).fix(self.newer)
    }
}
