//! Which build this is: the commit and the target, and the key that its releases are signed with. Nothing of
//! it hangs on the time or the machine, so that the same sources make the same binary.
#![allow(missing_docs, reason = "a build script has no readers")]

use std::env;
use std::path::Path;
use std::process::Command;

/// The public key of releases, where there is one.
const KEY: &str = "../../packaging/release/lighterman.pub";

fn main() {
    println!("cargo:rerun-if-env-changed=LIGHTERMAN_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../packaging/release");
    let profile = env::var("PROFILE").unwrap_or_default();
    let given = env::var("LIGHTERMAN_COMMIT").ok();
    let commit = given
        .filter(|commit| !commit.is_empty())
        // Whoever develops would link everything anew after each commit.
        .or_else(|| (profile == "release").then(commit).flatten())
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=LIGHTERMAN_COMMIT={commit}");
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=LIGHTERMAN_BUILD={target} {profile}");
    println!("cargo:rustc-env=LIGHTERMAN_PUBLIC_KEY={}", key());
}

/// What git says, where this is a clone and git is there.
fn commit() -> Option<String> {
    for watched in ["../../.git/HEAD", "../../.git/refs/heads"] {
        if Path::new(watched).exists() {
            println!("cargo:rerun-if-changed={watched}");
        }
    }
    let asked = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let asked = asked.ok().filter(|asked| asked.status.success())?;
    let commit = String::from_utf8(asked.stdout).ok()?;
    Some(commit.trim().to_owned())
}

/// The key itself stands in the last line of its file.
fn key() -> String {
    let text = std::fs::read_to_string(KEY).unwrap_or_default();
    let mut lines = text.lines().map(str::trim).rev();
    let key = lines.find(|line| !line.is_empty());
    key.unwrap_or_default().to_owned()
}
