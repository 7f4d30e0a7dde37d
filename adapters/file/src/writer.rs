//! The rolling file: which one is written, when the next begins, and what is surely on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use contract::{Answer, Outcome, Outgoing};
use jiff::civil::Date;

use crate::format::Format;
use crate::tail;

/// What the settings say.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) prefix: String,
    pub(crate) format: Format,
    pub(crate) bytes_max: u64,
    pub(crate) daily: bool,
}

/// A file being written.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    number: Number,
    /// All up to here is on the disk.
    length: u64,
}

/// A file's place in the row of files: day, then number of the day.
type Number = (Date, u32);

/// The files of one destination.
#[derive(Debug)]
pub(crate) struct Writer {
    place: Place,
    current: Option<Current>,
    /// Held as long as we write: two agents in one row of files would cut off each other's lines.
    lock: Option<File>,
    /// A file that is not trusted any more: the next one begins behind it.
    beyond: Option<Number>,
}

impl Place {
    fn path(&self, (day, n): Number) -> PathBuf {
        let ending = self.format.ending();
        self.folder
            .join(format!("{}-{day}-{n:04}.{ending}", self.prefix))
    }

    /// The number in a file's name, if it is one of ours.
    fn number(&self, name: &str) -> Option<Number> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let rest = rest.strip_suffix(self.format.ending())?.strip_suffix('.')?;
        let (day, n) = rest.split_at_checked(10)?;
        Some((day.parse().ok()?, n.strip_prefix('-')?.parse().ok()?))
    }

    /// The newest file, and how many bytes were put aside in all.
    pub(crate) fn newest(&self) -> io::Result<Option<Number>> {
        let mut newest = None;
        for entry in fs::read_dir(&self.folder)? {
            let number = entry?.file_name().to_str().and_then(|n| self.number(n));
            newest = newest.max(number);
        }
        Ok(newest)
    }

    /// Files that hold what was cut off after a crash.
    pub(crate) fn put_aside(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.to_str().and_then(|name| name.strip_suffix(".torn"));
            if ours.and_then(|name| self.number(name)).is_some() {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// The file that stands for the right to write.
    fn lock_path(&self) -> PathBuf {
        self.folder.join(format!(".{}.lock", self.prefix))
    }
}

fn said(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}

impl Writer {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            current: None,
            lock: None,
            beyond: None,
        }
    }

    /// Writes events, one outcome each.
    pub(crate) fn write(&mut self, events: &[Outgoing], today: Date) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(events.len());
        let lines: Vec<_> = events
            .iter()
            .map(|event| self.place.format.line(event))
            .collect();
        while let Some(rest) = lines.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let next = rest.first().map_or(0, Vec::len) as u64;
            let length = match self.open(today, next) {
                Ok(length) => length,
                Err(cause) => {
                    let outcome = Outcome::not_sent(cause);
                    outcomes.extend(rest.iter().map(|_| outcome.clone()));
                    break;
                }
            };
            // As many as there is room for; one that is larger than a file has one of its own.
            let mut bytes = length;
            let mut count = 0;
            for line in rest {
                bytes += line.len() as u64;
                if count > 0 && bytes > self.place.bytes_max {
                    break;
                }
                count += 1;
            }
            let lines = rest.get(..count).unwrap_or_default();
            outcomes.extend(self.append(lines));
        }
        outcomes
    }

    /// The file to write `next` bytes to, whole, with its head: its length.
    fn open(&mut self, today: Date, next: u64) -> Result<u64, String> {
        let (daily, bytes_max) = (self.place.daily, self.place.bytes_max);
        let head = self.place.format.head().len() as u64;
        let done = |current: &Current| {
            let full = current.length > head && current.length + next > bytes_max;
            full || (daily && current.number.0 < today)
        };
        if let Some(current) = self.current.as_ref() {
            // A file that was moved away must not be written on, where nobody would look; one that
            // somebody else wrote to is looked at again.
            if !done(current) && current.ours(current.length) {
                return Ok(current.length);
            }
        }
        self.current = None;
        self.take_lock()?;
        let folder = self.place.folder.clone();
        let newest = self
            .place
            .newest()
            .map_err(|error| said("read folder", &folder, &error))?
            .max(self.beyond);
        if let Some(number) = newest.filter(|number| Some(*number) != self.beyond) {
            let path = self.place.path(number);
            let current = self.take_up(path, number)?;
            if !done(&current) {
                let length = current.length;
                self.current = Some(current);
                return Ok(length);
            }
        }
        // A clock that was put back must not put new events before old ones.
        let number = match newest {
            Some((day, n)) if day >= today => (day, n.saturating_add(1)),
            Some(_) | None => (today, 1),
        };
        let current = self.begin(number)?;
        let length = current.length;
        self.current = Some(current);
        Ok(length)
    }

    fn take_lock(&mut self) -> Result<(), String> {
        if self.lock.is_some() {
            return Ok(());
        }
        let path = self.place.lock_path();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| said("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                Ok(())
            }
            Err(fs::TryLockError::WouldBlock) => Err(format!(
                "another process writes {}-* in {}: give one of them another folder or file_name",
                self.place.prefix,
                self.place.folder.display()
            )),
            Err(fs::TryLockError::Error(error)) => Err(said("lock", &path, &error)),
        }
    }

    /// A file that was there before us.
    fn take_up(&self, path: PathBuf, number: Number) -> Result<Current, String> {
        let opened = alone(&mut OpenOptions::new())
            .read(true)
            .append(true)
            .open(&path);
        let mut file = opened.map_err(|error| said("open", &path, &error))?;
        let is_file = file
            .metadata()
            .map_err(|error| said("look at", &path, &error))?
            .is_file();
        if !is_file {
            return Err(format!("{} is not a file", path.display()));
        }
        let length = tail::repair(&path, &mut file, self.place.format.quotes())
            .map_err(|error| said("mend the end of", &path, &error))?;
        self.head(path, file, number, length)
    }

    fn begin(&self, number: Number) -> Result<Current, String> {
        let path = self.place.path(number);
        let file = alone(&mut OpenOptions::new())
            .create_new(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|error| said("make", &path, &error))?;
        let current = self.head(path, file, number, 0)?;
        // The folder's entry of the file must be on the disk as well.
        sync_folder(&self.place.folder)
            .map_err(|error| said("write folder", &self.place.folder, &error))?;
        Ok(current)
    }

    fn head(
        &self,
        path: PathBuf,
        mut file: File,
        number: Number,
        length: u64,
    ) -> Result<Current, String> {
        let head = self.place.format.head();
        let mut write = || {
            if length > 0 || head.is_empty() {
                return Ok(length);
            }
            file.write_all(&head)?;
            file.sync_data()?;
            Ok(head.len() as u64)
        };
        let length = write().map_err(|error: io::Error| said("write", &path, &error))?;
        Ok(Current {
            path,
            file,
            number,
            length,
        })
    }

    fn append(&mut self, lines: &[Vec<u8>]) -> Vec<Outcome> {
        let Some(current) = self.current.as_mut() else {
            return vec![Outcome::not_sent("no file is open"); lines.len()];
        };
        let written = current.file.write_all(&lines.concat());
        if let Err(error) = written {
            let cause = said("write", &current.path, &error);
            // What got there is taken back: then surely nothing was applied.
            let back = tail::cut(&current.path, &current.file, current.length);
            let back = back.and_then(|()| current.file.sync_all());
            if back.is_ok() {
                return vec![Outcome::not_sent(cause); lines.len()];
            }
            return self.leave(lines.len(), &cause);
        }
        if let Err(error) = current.file.sync_data() {
            let cause = said("write to disk", &current.path, &error);
            return self.leave(lines.len(), &cause);
        }
        let bytes: usize = lines.iter().map(Vec::len).sum();
        if !current.ours(current.length + bytes as u64) {
            let path = current.path.display();
            let cause = format!("{path} was moved away, cut or written to by others meanwhile");
            self.current = None;
            return vec![Outcome::unknown(cause); lines.len()];
        }
        let name = current.path.file_name().unwrap_or_default();
        let mut outcomes = Vec::with_capacity(lines.len());
        for line in lines {
            outcomes.push(Outcome::Applied(Answer {
                body: format!("{}, byte {}", name.display(), current.length),
                ..Answer::default()
            }));
            current.length += line.len() as u64;
        }
        outcomes
    }

    /// After a failed write to the disk nobody knows what is on it, and trying again could succeed
    /// without writing: the file is left as it is, and the next one begins.
    fn leave(&mut self, count: usize, cause: &str) -> Vec<Outcome> {
        self.beyond = self.current.take().map(|current| current.number);
        vec![Outcome::unknown(cause); count]
    }
}

impl Current {
    /// It still is the file of its name and as long as it should be.
    fn ours(&self, length: u64) -> bool {
        let long = self.file.metadata().map(|found| found.len());
        same(&self.path, &self.file) && long.ok() == Some(length)
    }
}

/// Opens a file so that it stays the one of its name: on Windows nobody can move or remove it meanwhile.
#[cfg(windows)]
fn alone(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::windows::fs::OpenOptionsExt as _;
    const READ_AND_WRITE: u32 = 1 | 2;
    options.share_mode(READ_AND_WRITE)
}

/// Elsewhere [`same`] looks whether it still is.
#[cfg(not(windows))]
fn alone(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn same(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

/// Nobody can move or remove it while it is open: see [`alone`].
#[cfg(not(unix))]
fn same(path: &Path, _: &File) -> bool {
    path.exists()
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Folders cannot be opened there; their entries are journalled.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use contract::{EventOp, EventType};

    use super::*;

    fn place(folder: &Path) -> Place {
        Place {
            folder: folder.to_owned(),
            prefix: "shop".to_owned(),
            format: Format::JsonLines,
            bytes_max: 1 << 20,
            daily: true,
        }
    }

    fn event(n: u32) -> Outgoing {
        Outgoing {
            offset: i64::from(n),
            id: format!("evt_{n}"),
            event_type: EventType::Product,
            key: format!("ACME|{n}"),
            op: EventOp::Upsert,
            idempotency_key: format!("evt_{n}"),
            origin: "acme/erp".to_owned(),
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
            attempt: 1,
            json: Bytes::from_static(b"{}"),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn each_day_has_its_file_and_a_clock_put_back_changes_no_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(place(folder.path()));
        for (n, day) in [(1, 27), (2, 28), (3, 27)] {
            let outcomes = writer.write(&[event(n)], jiff::civil::date(2026, 11, day));
            assert!(matches!(outcomes[..], [Outcome::Applied(_)]));
        }
        let expected = ["shop-2026-11-27-0001.jsonl", "shop-2026-11-28-0001.jsonl"];
        assert_eq!(names(folder.path()), expected);
        let second = fs::read_to_string(folder.path().join(expected[1])).unwrap();
        assert_eq!(second.lines().count(), 2);
        // And after a start with the clock still wrong.
        drop(writer);
        let mut writer = Writer::new(place(folder.path()));
        writer.write(&[event(4)], jiff::civil::date(2026, 11, 20));
        let second = fs::read_to_string(folder.path().join(expected[1])).unwrap();
        assert_eq!(second.lines().count(), 3);
    }

    #[test]
    fn a_failed_write_that_cannot_be_taken_back_is_unknown_and_leaves_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(place(folder.path()));
        let today = jiff::civil::date(2026, 11, 27);
        writer.write(&[event(1)], today);
        // A handle that can only read stands for a disk that fails.
        let current = writer.current.as_mut().unwrap();
        current.file = File::open(&current.path).unwrap();
        let outcomes = writer.write(&[event(2), event(3)], today);
        assert!(
            matches!(
                outcomes[..],
                [Outcome::Unknown { .. }, Outcome::Unknown { .. }]
            ),
            "{outcomes:?}"
        );
        let outcomes = writer.write(&[event(2)], today);
        assert!(matches!(outcomes[..], [Outcome::Applied(_)]));
        assert_eq!(names(folder.path())[1], "shop-2026-11-27-0002.jsonl");
    }
}
