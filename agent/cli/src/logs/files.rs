//! Log files in a folder: a new one each day and whenever one is full, the oldest go.
//!
//! The day is UTC's, like the times in the lines. All files together never take more than the limit:
//! the one that is written counts as full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Files of so many days, today's included.
    pub(crate) keep_days: u16,
    /// A file is full then.
    pub(crate) file_bytes_max: u64,
    /// All files together.
    pub(crate) total_bytes_max: u64,
}

impl Default for Limits {
    /// Two weeks, as long as anybody looks back for a fault; a file opens in any editor.
    fn default() -> Self {
        Self {
            keep_days: 14,
            file_bytes_max: 16 << 20,
            total_bytes_max: 256 << 20,
        }
    }
}

const BEGIN: &str = "lighterman-";
const END: &str = ".jsonl";

/// A file's place in the order: its day, and its number within the day, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    day: Date,
    number: u32,
}

impl Name {
    fn read(name: &str) -> Option<Self> {
        let middle = name.strip_prefix(BEGIN)?.strip_suffix(END)?;
        let (day, number) = match middle.split_once('.') {
            Some((day, number)) => (day, number.parse().ok()?),
            None => (middle, 1),
        };
        let day = day.parse().ok()?;
        let read = Self { day, number };
        // Not one of ours, however much alike.
        (read.text() == name).then_some(read)
    }

    fn text(self) -> String {
        match self.number {
            1 => format!("{BEGIN}{}{END}", self.day),
            number => format!("{BEGIN}{}.{number}{END}", self.day),
        }
    }
}

struct Open {
    file: File,
    name: Name,
    bytes: u64,
    looked_at: Timestamp,
}

/// The files of one folder.
pub(super) struct Files {
    folder: PathBuf,
    limits: Limits,
    open: Option<Open>,
}

/// Somebody may take the file away; that is noticed after so long.
const LOOK_SECONDS: i64 = 5;

impl Files {
    pub(super) fn new(folder: &Path, limits: Limits) -> Self {
        Self {
            folder: folder.to_owned(),
            limits,
            open: None,
        }
    }

    /// Writes a line, which ends in a line feed.
    ///
    /// # Errors
    /// What the system says. The next try begins with the folder again.
    pub(super) fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if self.is_good(&open, line, now) => open,
            _ => self.next(line, now)?,
        };
        if now.duration_since(open.looked_at).as_secs().abs() >= LOOK_SECONDS {
            open.looked_at = now;
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn is_good(&self, open: &Open, line: &[u8], now: Timestamp) -> bool {
        let path = self.folder.join(open.name.text());
        let looked = now.duration_since(open.looked_at).as_secs().abs() < LOOK_SECONDS;
        open.name.day == day(now) && self.fits(open.bytes, line) && (looked || path.exists())
    }

    /// A line that is longer than any file stands alone in one.
    fn fits(&self, bytes: u64, line: &[u8]) -> bool {
        bytes == 0 || bytes + line.len() as u64 <= self.limits.file_bytes_max
    }

    /// Opens the file that goes on, or the next one.
    fn next(&self, line: &[u8], now: Timestamp) -> io::Result<Open> {
        make(&self.folder)?;
        let today = day(now);
        let known = self.known()?;
        let newest = known.iter().filter(|(name, _)| name.day == today).max();
        let name = match newest {
            Some((name, bytes)) if self.fits(*bytes, line) => *name,
            newest => Name {
                day: today,
                number: newest.map_or(1, |(name, _)| name.number.saturating_add(1)),
            },
        };
        self.clear(known, name)?;
        let path = self.folder.join(name.text());
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
        let mut file = options.open(path)?;
        let bytes = whole(&mut file)?;
        Ok(Open {
            file,
            name,
            bytes,
            looked_at: now,
        })
    }

    /// Our files and their sizes, the oldest first.
    fn known(&self) -> io::Result<Vec<(Name, u64)>> {
        let mut known = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(Name::read)
                // One that went meanwhile is not there.
                && let Ok(about) = entry.metadata()
            {
                known.push((name, about.len()));
            }
        }
        known.sort_unstable();
        Ok(known)
    }

    /// Removes what is too old, and the oldest of what is too much beside the file to be written.
    fn clear(&self, known: Vec<(Name, u64)>, writing: Name) -> io::Result<()> {
        let kept = jiff::Span::new().days(i64::from(self.limits.keep_days) - 1);
        let first = writing.day.saturating_sub(kept);
        let mut others: u64 = 0;
        let mut kept = Vec::new();
        for (name, bytes) in known.into_iter().filter(|(name, _)| *name != writing) {
            if name.day < first {
                fs::remove_file(self.folder.join(name.text()))?;
            } else {
                others = others.saturating_add(bytes);
                kept.push((name, bytes));
            }
        }
        let room = self.limits.total_bytes_max - self.limits.file_bytes_max;
        for (name, bytes) in kept {
            if others <= room {
                break;
            }
            fs::remove_file(self.folder.join(name.text()))?;
            others -= bytes;
        }
        Ok(())
    }
}

/// Makes the folder of the logs, and those above it, the state folder among them: for their user and group alone.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    builder.create(folder)
}

/// Sees to it that what comes next begins a line, and says how long the file is: a disk that was full
/// may have taken half of the last one.
fn whole(file: &mut File) -> io::Result<u64> {
    let bytes = file.seek(SeekFrom::End(0))?;
    if bytes == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(bytes);
    }
    file.write_all(b"\n")?;
    Ok(bytes + 1)
}

fn day(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
