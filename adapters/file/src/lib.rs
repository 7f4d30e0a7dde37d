//! Destination: rolling files of JSON lines or CSV.
//!
//! An event is applied when its line is on the disk. Files are only ever added to, but for a torn
//! end that a crash left. Nothing is ever deleted.

mod format;
mod tail;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::{
    BuildDestination, Destination, DestinationTraits, Finding, Gate, Outcome, Outgoing, Report,
    Resend, Secrets, Section,
};
use jiff::civil::Date;

use format::Format;
use writer::{Place, Writer};

/// The `type` in the settings.
pub const NAME: &str = "file";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "archive"
type = "file"
folder = "/var/lib/lighterman/archive"   # must be there
# format = "json-lines"            # or "csv"
# file_name = "archive"            # files are <file_name>-<day>-<number>.jsonl; else the name above
# file_megabytes_max = 64          # the next file begins when one is this large,
# daily = true                     # and with each day (UTC)
# timeout_seconds = 30
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[contract::Question::new(
    "folder",
    "Into which folder are files written?",
    "it must be there: the agent does not make it, for an unmounted disk would go unnoticed",
)];

const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Settings {
    folder: PathBuf,
    file_name: Option<String>,
    format: Format,
    bytes_max: u64,
    daily: bool,
    timeout: Duration,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, _: &dyn Secrets) -> Option<BuildDestination> {
    let folder = section
        .required_text("folder", "`folder = \"/var/lib/lighterman/archive\"`")
        .map(PathBuf::from);
    let file_name = section.text("file_name").map(str::to_owned);
    // As the destination is called.
    if let Some(name) = section.text("name") {
        section.here("file_name", format_args!("\"{name}\""));
    }
    if let (Some(name), Some(node)) = (&file_name, section.get("file_name"))
        && !plain(name)
    {
        let found = "may have letters, digits, `.`, `_` and `-` only".to_owned();
        let fix = "a name alone, such as events: the folder is `folder`".to_owned();
        section.wrong("file_name", node, found, Some(fix));
    }
    let format = match section.word_or("format", &["json-lines", "csv"], "json-lines") {
        "csv" => Format::Csv,
        _ => Format::JsonLines,
    };
    let megabytes = section.number_or("file_megabytes_max", 1, 65_536, 64);
    let daily = section.flag_or("daily", true);
    let timeout = section.number_or("timeout_seconds", 1, 300, 30);
    let settings = Settings {
        folder: folder?,
        file_name,
        format,
        bytes_max: megabytes << 20,
        daily,
        timeout: Duration::from_secs(timeout),
    };
    Some(Arc::new(move |name| {
        let prefix = settings
            .file_name
            .clone()
            .unwrap_or_else(|| name.to_owned());
        if !plain(&prefix) {
            return Err(format!(
                "`{prefix}` cannot begin a file's name: set file_name"
            ));
        }
        let place = Place {
            folder: settings.folder.clone(),
            prefix,
            format: settings.format,
            bytes_max: settings.bytes_max,
            daily: settings.daily,
        };
        Ok(Arc::new(Files {
            name: name.to_owned(),
            timeout: settings.timeout,
            writer: Arc::new(Mutex::new(Writer::new(place.clone()))),
            place,
        }) as Arc<dyn Destination>)
    }))
}

fn plain(name: &str) -> bool {
    let ours = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.bytes().all(ours)
}

struct Files {
    name: String,
    timeout: Duration,
    place: Place,
    writer: Arc<Mutex<Writer>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the day is part of the files' names; no decision hangs on it"
)]
fn today() -> Date {
    jiff::tz::TimeZone::UTC
        .to_datetime(jiff::Timestamp::now())
        .date()
}

/// What is wrong with the folder, and what to do.
fn look(place: &Place) -> Result<String, (String, &'static str)> {
    let folder = &place.folder;
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err((
                format!("folder {shown} does not exist"),
                "make it (it is not made by itself: an unmounted disk would go unnoticed)",
            ));
        }
        Err(error) => {
            return Err((
                format!("look at folder {shown}: {error}"),
                "give the agent's user the right to read and write it",
            ));
        }
        Ok(found) if !found.is_dir() => {
            return Err((
                format!("{shown} is not a folder"),
                "set `folder` to a folder",
            ));
        }
        Ok(_) => {}
    }
    writable(folder).map_err(|error| {
        (
            format!("write in folder {shown}: {error}"),
            "give the agent's user the right to write there, or make room on the disk",
        )
    })?;
    let newest = place.newest().map_err(|error| {
        (
            format!("read folder {shown}: {error}"),
            "give the agent's user the right to read it",
        )
    })?;
    Ok(match newest {
        Some((day, n)) => format!("folder {shown} can be written; newest file {day}, number {n}"),
        None => format!("folder {shown} can be written; no file yet"),
    })
}

/// Makes a file and takes it away again: rights alone do not say that a disk can be written.
fn writable(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".lighterman-check-{}", std::process::id()));
    std::fs::write(&probe, b"check")?;
    std::fs::remove_file(&probe)
}

#[async_trait]
impl Destination for Files {
    fn traits(&self) -> DestinationTraits {
        DestinationTraits {
            batch_events_max: 500,
            // A line that stands twice is known by its event id.
            resend: Resend::Safe,
            request_timeout: self.timeout,
            ..DestinationTraits::modest()
        }
    }

    async fn check(&self) -> Vec<Finding> {
        let what = format!("destination {}", self.name);
        let place = self.place.clone();
        let looked = tokio::task::spawn_blocking(move || (look(&place), place.put_aside()));
        let Ok(Ok((looked, aside))) = tokio::time::timeout(CHECK_TIMEOUT, looked).await else {
            let found = format!("folder {} does not answer", self.place.folder.display());
            return vec![Finding::fail(what, found).fix("look at the disk or network it is on")];
        };
        let mut findings = vec![match looked {
            Ok(found) => Finding::pass(&*what, found),
            Err((found, fix)) => Finding::fail(&*what, found).fix(fix),
        }];
        for path in aside.unwrap_or_default() {
            let found = format!(
                "{} holds the end that a crash tore off a file: those events came again",
                path.display()
            );
            findings.push(Finding::warn(&*what, found).fix("delete it when you do not want it"));
        }
        findings
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        let began = Instant::now();
        if !gate.pass(0, self.timeout).await {
            let cause = "the destination's limits left no room for the write in time";
            return Report::all(batch.len(), &Outcome::not_sent(cause));
        }
        let writer = Arc::clone(&self.writer);
        let events = batch.to_vec();
        let writing = tokio::task::spawn_blocking(move || {
            // One that still hangs on a disk is not overtaken: what it writes must stay before.
            let mut writer = match writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(writer)) => writer.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    let cause = "an earlier write has not come back from the disk";
                    return vec![Outcome::not_sent(cause); events.len()];
                }
            };
            writer.write(&events, today())
        });
        let mut report = Report::new(batch.len());
        let limit = self.timeout.saturating_sub(began.elapsed());
        match tokio::time::timeout(limit, writing).await {
            Ok(Ok(outcomes)) => {
                for (index, outcome) in outcomes.into_iter().enumerate() {
                    report.set(index, outcome);
                }
                report
            }
            Ok(Err(_)) => Report::all(batch.len(), &Outcome::unknown("the write ended midway")),
            Err(_) => {
                let cause = "the disk did not answer within the timeout";
                Report::all(batch.len(), &Outcome::unknown(cause))
            }
        }
    }
}
