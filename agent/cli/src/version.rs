//! Which build this is.

/// The release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it was made of; `unknown` where nobody said so when it was built.
pub(crate) const COMMIT: &str = env!("LIGHTERMAN_COMMIT");
/// For which machine, and how.
pub(crate) const BUILD: &str = env!("LIGHTERMAN_BUILD");
/// The public key that its releases are signed with; empty = none was known when it was built.
pub(crate) const PUBLIC_KEY: &str = env!("LIGHTERMAN_PUBLIC_KEY");

/// What `--version` says behind the name.
pub(crate) const SAID: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("LIGHTERMAN_COMMIT"),
    ", ",
    env!("LIGHTERMAN_BUILD"),
    ")"
);
