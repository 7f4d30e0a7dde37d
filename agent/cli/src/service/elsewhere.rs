//! Where there is no service manager that we know.

use std::path::Path;

use contract::Finding;

use super::{Done, Refused};

fn unknown() -> Refused {
    Refused::trouble(
        Finding::fail("service", "this system's service manager is not known")
            .fix("have it run: lighterman run --config <folder>/lighterman.toml"),
    )
}

pub(super) fn install(_name: &str, _folder: &Path, _dry_run: bool) -> Result<Done, Refused> {
    Err(unknown())
}

pub(super) fn uninstall(_name: &str) -> Result<Done, Refused> {
    Err(unknown())
}

pub(super) fn start(_name: &str) -> Result<Done, Refused> {
    Err(unknown())
}

pub(super) fn stop(_name: &str) -> Result<Done, Refused> {
    Err(unknown())
}

pub(super) fn status(_name: &str) -> Result<Done, Refused> {
    Err(unknown())
}
