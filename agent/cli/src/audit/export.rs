//! The record as JSON lines: written, and read again as another program would.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use contract::{Clock, Finding};
use engine::clock::SystemClock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use state::{AuditChain, AuditHead, AuditRecord, AuditVerdict, StateReader, StoreError};

use super::verify::shown;
use crate::{Exit, out, refuse};

/// No line of ours is longer.
const LINE_MAX: u64 = 256 << 10;
/// The form of exports.
const FORM: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    lighterman_audit: u32,
    exported_at: Timestamp,
    /// What the first entry follows.
    begins: Place,
    /// The last entry.
    head: Place,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    number: u64,
    hash: String,
}

impl Place {
    fn of(head: &AuditHead) -> Self {
        Self {
            number: head.number,
            hash: head.hash.clone(),
        }
    }

    fn head(self) -> AuditHead {
        AuditHead {
            number: self.number,
            hash: self.hash,
        }
    }
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: u64,
    at: String,
    who: String,
    what: String,
    subject: String,
    details: String,
    previous: String,
    hash: String,
}

impl Line {
    fn of(record: AuditRecord) -> Self {
        Self {
            number: record.number,
            at: record.moment(),
            who: record.who,
            what: record.what,
            subject: record.subject,
            details: record.details,
            previous: record.previous,
            hash: record.hash,
        }
    }

    fn record(self) -> Result<AuditRecord, String> {
        let number = self.number;
        let at = self.at.parse::<Timestamp>().ok();
        let record = AuditRecord {
            number,
            at: at.unwrap_or_default(),
            who: self.who,
            what: self.what,
            subject: self.subject,
            details: self.details,
            previous: self.previous,
            hash: self.hash,
        };
        // The text is what is hashed: another way to write a moment is another text.
        if record.moment() == self.at {
            Ok(record)
        } else {
            Err(format!(
                "entry {number} was changed: its time is not as it is written"
            ))
        }
    }
}

pub(super) fn export(reader: &StateReader, to: &Path, json: bool) -> Result<Exit, StoreError> {
    let now = SystemClock.now();
    let to = if to.is_dir() {
        to.join(format!(
            "lighterman-audit-{}.jsonl",
            now.strftime("%Y%m%dT%H%M%SZ")
        ))
    } else {
        to.to_owned()
    };
    match write(reader, &to, now)? {
        Ok(head) => {
            if json {
                let form = serde_json::json!({ "file": to, "head": head });
                out(&form.to_string());
            } else {
                out(&format!(
                    "Wrote {}: entries up to {}",
                    to.display(),
                    shown(&head)
                ));
                out(
                    "Keep it where nobody of here can change it: lighterman audit verify --file compares with it.",
                );
            }
            Ok(Exit::Ok)
        }
        Err(finding) => {
            refuse(&[finding], json);
            Ok(Exit::Trouble)
        }
    }
}

/// Writes it whole or not at all: what it goes up to.
fn write(
    reader: &StateReader,
    to: &Path,
    now: Timestamp,
) -> Result<Result<AuditHead, Finding>, StoreError> {
    let failed = |error: std::io::Error| {
        let what = format!("write {}", to.display());
        let fix = "name a file that does not exist, in a folder that may be written to";
        Finding::fail(what, error.to_string()).fix(fix)
    };
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let file = match tempfile::NamedTempFile::new_in(folder) {
        Ok(file) => file,
        Err(error) => return Ok(Err(failed(error))),
    };
    let mut writing = Writing {
        to: std::io::BufWriter::new(file),
        up_to: AuditHead::none(),
        ended: Ok(()),
    };
    reader.audit_each(
        &mut writing,
        |writing, begins, head| {
            let first = First {
                lighterman_audit: FORM,
                exported_at: now,
                begins: Place::of(begins),
                head: Place::of(head),
            };
            writing.up_to = head.clone();
            writing.line(&first);
        },
        |writing, record| {
            writing.line(&Line::of(record));
            writing.ended.is_ok()
        },
    )?;
    let Writing {
        to: written,
        up_to,
        ended,
    } = writing;
    let finished = ended.and_then(|()| {
        let file = written
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(to).map_err(|error| error.error)?;
        Ok(())
    });
    Ok(finished.map(|()| up_to).map_err(failed))
}

/// An export that is being written.
struct Writing {
    to: std::io::BufWriter<tempfile::NamedTempFile>,
    up_to: AuditHead,
    /// What stopped it.
    ended: std::io::Result<()>,
}

impl Writing {
    fn line(&mut self, form: &impl Serialize) {
        if self.ended.is_ok() {
            self.ended = line(&mut self.to, form);
        }
    }
}

fn line(written: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *written, line)?;
    written.write_all(b"\n")
}

/// What an export says, and whether it hangs together.
///
/// # Errors
/// Why it cannot be read, or is none.
pub(super) fn verified(file: &Path) -> Result<AuditVerdict, Finding> {
    let what = || format!("read {}", file.display());
    let opened = File::open(file).map_err(|error| {
        let finding = Finding::fail(what(), error.to_string());
        finding.fix("name a file that lighterman audit export wrote")
    })?;
    let mut lines = Lines(BufReader::new(opened));
    let first = lines.next().map_err(|why| Finding::fail(what(), why))?;
    let first = first.and_then(|text| serde_json::from_str::<First>(&text).ok());
    let Some(first) = first.filter(|first| first.lighterman_audit == FORM) else {
        let finding = Finding::fail(what(), "its first line is not that of an export of form 1");
        return Err(finding
            .fix("name a file that lighterman audit export wrote; a newer version may know it"));
    };
    let (begins, head) = (first.begins.head(), first.head.head());
    let mut chain = AuditChain::behind(begins.clone());
    let mut entries = 0;
    let wrong = loop {
        let taken = match lines.next() {
            Ok(None) => break chain.end().err().or_else(|| cut(&chain, &head)),
            Ok(Some(text)) => serde_json::from_str::<Line>(&text)
                .map_err(|error| format!("line {} is not an entry: {error}", entries + 2))
                .and_then(Line::record)
                .and_then(|record| chain.take(&record)),
            Err(why) => Err(why),
        };
        match taken {
            Ok(()) => entries += 1,
            Err(why) => break Some(why),
        }
    };
    Ok(AuditVerdict {
        entries,
        begins,
        head: chain.head().clone(),
        wrong,
    })
}

fn cut(chain: &AuditChain, head: &AuditHead) -> Option<String> {
    let last = chain.head();
    (last != head).then(|| {
        format!(
            "it ends at entry {}, and its first line says that it goes up to {}: entry {} is missing, or the first \
             line was changed",
            last.number,
            head.number,
            last.number.saturating_add(1)
        )
    })
}

/// Lines of bounded length.
struct Lines(BufReader<File>);

impl Lines {
    fn next(&mut self) -> Result<Option<String>, String> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.0).take(LINE_MAX);
        let read = bounded.read_until(b'\n', &mut bytes);
        read.map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.pop() != Some(b'\n') {
            return Err(
                "its last line does not end: it was cut off, or a line is too long".to_owned(),
            );
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| "a line is not text".to_owned())
    }
}
