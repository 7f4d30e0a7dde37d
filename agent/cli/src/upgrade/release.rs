//! A release as somebody brought it here: an archive or a binary, looked at before anything of it is used.
//!
//! What is verified is what is read: the file is read once, and both its signature and what is put in place
//! are of those bytes.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use contract::Finding;
use contract::look::bytes;
use flate2::read::GzDecoder;
use minisign_verify::{Error, PublicKey, Signature};
use sha2::{Digest as _, Sha256};

use crate::version;

/// No release is larger.
const FILE_MAX: u64 = 256 << 20;
/// Signatures, keys and lists of sums are small.
const TEXT_MAX: u64 = 1 << 20;
/// Entries of an archive that are looked through.
const ENTRIES_MAX: usize = 1_000;
/// The binary's name.
const NAME: &str = if cfg!(windows) {
    "lighterman.exe"
} else {
    "lighterman"
};
/// The list of sums beside a release.
const SUMS: &str = "SHA256SUMS";

/// A release whose signature is right.
#[derive(Debug)]
pub(super) struct Release {
    /// The file that was signed.
    pub(super) file: PathBuf,
    pub(super) sha256: String,
    /// What was signed with it: time and name.
    comment: String,
    pub(super) binary: Vec<u8>,
}

impl Release {
    pub(super) fn finding(&self) -> Finding {
        let comment = self.comment.replace('\t', ", ");
        let found = format!("is signed ({comment}), sha256 {}", self.sha256);
        Finding::pass(format!("release {}", self.file.display()), found)
    }
}

/// Reads and verifies a release.
///
/// # Errors
/// Why it is not used.
pub(super) fn open(from: &Path, key: Option<&Path>) -> Result<Release, Finding> {
    let file = if from.is_dir() {
        in_folder(from)?
    } else {
        from.to_owned()
    };
    let what = format!("release {}", file.display());
    let wrong = |found: String| Finding::fail(&what, found);
    let content = read(&file, FILE_MAX).map_err(wrong)?;
    let signature = beside(&file, ".minisig");
    let comment =
        verified(&content, &signature, key).map_err(|(found, fix)| wrong(found).fix(fix))?;
    let sha256 = hex(&Sha256::digest(&content));
    if let Some(listed) = listed(&file).map_err(wrong)?
        && listed != sha256
    {
        let found = format!("its sum is {sha256}, and {SUMS} says {listed}");
        return Err(wrong(found).fix("bring the release here once more"));
    }
    let binary = if content.starts_with(&[0x1f, 0x8b]) {
        unpacked(&content).map_err(wrong)?
    } else {
        content
    };
    Ok(Release {
        file,
        sha256,
        comment,
        binary,
    })
}

/// The one release in a folder that is for this machine.
fn in_folder(folder: &Path) -> Result<PathBuf, Finding> {
    let what = format!("release in {}", folder.display());
    let entries = fs::read_dir(folder).map_err(|error| Finding::fail(&what, error.to_string()))?;
    let mut found: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.path())
        })
        .filter(|(name, path)| {
            let archive = name.starts_with("lighterman-") && name.ends_with(".tar.gz");
            (name == NAME || archive) && path.is_file()
        })
        .collect();
    found.sort();
    if found.len() > 1 {
        // Of several, the one whose name says this machine.
        let here = (std::env::consts::ARCH, std::env::consts::OS);
        found.retain(|(name, _)| name.contains(here.0) && name.contains(here.1));
    }
    match found.as_slice() {
        [(_, path)] => Ok(path.clone()),
        [] => {
            let found = format!(
                "has no {NAME} and no one lighterman-*.tar.gz for {} on {}",
                std::env::consts::OS,
                std::env::consts::ARCH
            );
            Err(Finding::fail(what, found).fix("--from FILE names it"))
        }
        [..] => {
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            let found = format!("has several: {}", names.join(", "));
            Err(Finding::fail(what, found).fix("--from FILE names one"))
        }
    }
}

/// What was signed with a file: the signature's comment.
fn verified(
    content: &[u8],
    signature: &Path,
    key: Option<&Path>,
) -> Result<String, (String, &'static str)> {
    let key = match key {
        Some(file) => {
            let text =
                text(file).map_err(|error| (error, "--key FILE names a public key of minisign"))?;
            let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            last.unwrap_or_default().to_owned()
        }
        None => version::PUBLIC_KEY.to_owned(),
    };
    if key.is_empty() {
        return Err((
            "cannot be verified: this binary knows no key of its releases".to_owned(),
            "--key FILE, with the public key that you got from who made the release, on another way than it",
        ));
    }
    let key = PublicKey::from_base64(&key).map_err(|error| {
        let found = format!("cannot be verified: the public key is none of minisign's ({error})");
        (
            found,
            "--key FILE names a public key of minisign, a .pub file",
        )
    })?;
    let text = text(signature).map_err(|error| {
        let found = format!("is not signed: {error}");
        (
            found,
            "bring the .minisig file that belongs to it here, beside it",
        )
    })?;
    let again =
        "bring the release here once more, from where it is published, and do not use this one";
    let signature = Signature::decode(&text).map_err(|error| {
        (
            format!("has a signature that cannot be read: {error}"),
            again,
        )
    })?;
    match key.verify(content, &signature, false) {
        Ok(()) => Ok(signature.trusted_comment().to_owned()),
        Err(Error::UnexpectedKeyId) => Err((
            "is signed with another key than the one that is known here".to_owned(),
            "do not use it unless you know why; --key FILE names another public key",
        )),
        Err(error) => Err((format!("is NOT what was signed: {error}"), again)),
    }
}

/// What a list of sums beside it says of a file.
fn listed(file: &Path) -> Result<Option<String>, String> {
    let list = file.with_file_name(SUMS);
    if !list.exists() {
        return Ok(None);
    }
    let text = text(&list)?;
    let name = file.file_name().map(|name| name.to_string_lossy());
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let of_it =
        lines.find(|(_, named)| Some(named.trim_start_matches([' ', '*'])) == name.as_deref());
    Ok(of_it.map(|(sum, _)| sum.to_ascii_lowercase()))
}

/// The binary in an archive.
fn unpacked(content: &[u8]) -> Result<Vec<u8>, String> {
    let broken = |error: std::io::Error| format!("its archive cannot be read: {error}");
    let mut archive = tar::Archive::new(GzDecoder::new(content).take(FILE_MAX));
    for entry in archive.entries().map_err(broken)?.take(ENTRIES_MAX) {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let is_binary = path.file_name().is_some_and(|name| name == NAME);
        if is_binary && entry.header().entry_type().is_file() {
            let mut binary = Vec::new();
            entry.read_to_end(&mut binary).map_err(broken)?;
            return Ok(binary);
        }
    }
    Err(format!("its archive has no file {NAME}"))
}

/// A file's content, if it is not larger than that.
fn read(file: &Path, most: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("read {}: {error}", file.display());
    let mut content = Vec::new();
    let opened = fs::File::open(file).map_err(failed)?;
    opened
        .take(most + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > most {
        return Err(format!("is larger than {}", bytes(most)));
    }
    Ok(content)
}

fn text(file: &Path) -> Result<String, String> {
    let content = read(file, TEXT_MAX)?;
    String::from_utf8(content).map_err(|_| format!("{} is no text", file.display()))
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The sum of a file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn sum(file: &Path) -> Result<String, String> {
    Ok(hex(&Sha256::digest(read(file, FILE_MAX)?)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
