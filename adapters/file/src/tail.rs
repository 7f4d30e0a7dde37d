//! What a crash leaves at a file's end: found, put aside, cut off.
//!
//! An event counts as applied only when its whole line is on the disk. So what does not end like a
//! line was never reported, and comes again: it may go. Neither may it stay, for the next line
//! would be written into it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const PIECE: usize = 64 << 10;

/// The bytes from the beginning that are whole lines. A zero byte is in none: file systems leave
/// such where a page did not reach the disk.
pub(crate) fn whole(file: &mut File, quotes: bool) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut piece = vec![0; PIECE];
    let (mut at, mut whole) = (0_u64, 0_u64);
    let mut quoted = false;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(whole);
        }
        for byte in piece.iter().take(read) {
            at += 1;
            match byte {
                0 => return Ok(whole),
                b'"' if quotes => quoted = !quoted,
                b'\n' if !quoted => whole = at,
                _ => {}
            }
        }
    }
}

/// Where what was cut off a file is kept.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    PathBuf::from(name)
}

/// Makes a file so long.
#[cfg(not(windows))]
pub(crate) fn cut(_: &Path, file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

/// A file that is opened to be written at its end cannot be cut there: another handle of it can.
#[cfg(windows)]
pub(crate) fn cut(path: &Path, _: &File, length: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(length)
}

/// Cuts off what follows the whole lines, after it was put aside. Returns the length that is left.
pub(crate) fn repair(path: &Path, file: &mut File, quotes: bool) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let whole = whole(file, quotes)?;
    if whole < length {
        let mut torn = OpenOptions::new()
            .create(true)
            .append(true)
            .open(aside(path))?;
        file.seek(SeekFrom::Start(whole))?;
        io::copy(file, &mut torn)?;
        torn.flush()?;
        torn.sync_all()?;
        cut(path, file, whole)?;
        file.sync_all()?;
    }
    Ok(whole)
}
