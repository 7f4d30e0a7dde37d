//! The archive itself: one folder in a compressed tar, for whoever made it alone to read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

/// Writes it whole or not at all, and never in another file's place: its size.
pub(super) fn write(
    to: &Path,
    folder: &str,
    files: &[(String, String)],
    now: Timestamp,
) -> std::io::Result<u64> {
    let beside = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let file = tempfile::NamedTempFile::new_in(beside)?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        tar.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
    }
    let mut file = tar.into_inner()?.finish()?;
    file.flush()?;
    file.as_file().sync_all()?;
    let size = file.as_file().metadata()?.len();
    file.persist_noclobber(to).map_err(|error| error.error)?;
    Ok(size)
}
