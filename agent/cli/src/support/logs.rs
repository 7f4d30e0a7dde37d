//! The last days' log files. They say no values and no secrets; what libraries may have said beyond that, where
//! somebody let them, is left out.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use contract::look::bytes;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use super::Had;
use crate::logs::is_ours;

/// All of them together.
pub(super) const TOTAL_MAX: u64 = 24 << 20;
/// A longer line is none of ours.
const LINE_MAX: u64 = 1 << 20;

/// The log files of so many days, the newest first.
pub(super) fn files(folder: &Path, days: u16, now: Timestamp) -> Vec<PathBuf> {
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    let first = today
        .checked_sub(i64::from(days.saturating_sub(1)).days())
        .unwrap_or(today);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<((Date, u32), PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let place = place(name.to_str()?)?;
            (place.0 >= first).then(|| (place, entry.path()))
        })
        .collect();
    found.sort_unstable();
    found.reverse();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Day and number of `lighterman-2026-11-27.2.jsonl`.
fn place(name: &str) -> Option<(Date, u32)> {
    let middle = name.strip_prefix("lighterman-")?.strip_suffix(".jsonl")?;
    let (day, number) = match middle.split_once('.') {
        Some((day, number)) => (day, number.parse().ok()?),
        None => (middle, 1),
    };
    Some((day.parse().ok()?, number))
}

/// The lines of a file, its last ones where there is no room for all.
pub(super) fn read(path: &Path, room: u64) -> Had {
    let failed = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if room == 0 {
        return Err(format!("no room is left for its {}", bytes(size)));
    }
    let mut said = Vec::new();
    let cut = size > room;
    if cut {
        file.seek(SeekFrom::Start(size - room)).map_err(failed)?;
        said.push(format!("cut: the last {} of {}", bytes(room), bytes(size)));
    }
    // What is written meanwhile is not read.
    let mut lines = BufReader::new(file.take(size.min(room)));
    let mut text = String::new();
    let (mut left_out, mut first) = (0_u64, cut);
    loop {
        let mut line = Vec::new();
        let read = (&mut lines).take(LINE_MAX).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            break;
        }
        // The rest of a line that began before the cut.
        if std::mem::replace(&mut first, false) {
            continue;
        }
        match told(&line) {
            Some(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            None => left_out += 1,
        }
    }
    if left_out > 0 {
        said.push(format!(
            "{left_out} lines are left out: of libraries below a warning, or none of ours"
        ));
    }
    Ok((text, said))
}

/// A line without who asked, if it may be told.
fn told(line: &[u8]) -> Option<String> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    let said = value.as_object_mut()?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    if !matches!(text("level"), "ERROR" | "WARN" | "INFO") && !is_ours(text("target")) {
        return None;
    }
    if let Some(by) = said.get_mut("by") {
        *by = "<user>".into();
    }
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_last_days_come_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "lighterman-2026-11-27.jsonl",
            "lighterman-2026-11-27.2.jsonl",
            "lighterman-2026-11-27.10.jsonl",
            "lighterman-2026-11-26.jsonl",
            "lighterman-2026-11-24.jsonl",
            "other-2026-11-27.jsonl",
            "lighterman-2026-11-27.jsonl.gz",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let now = "2026-11-27T01:00:00Z".parse().unwrap();
        let found = files(folder.path(), 2, now);
        let names: Vec<_> = found
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "lighterman-2026-11-27.10.jsonl",
                "lighterman-2026-11-27.2.jsonl",
                "lighterman-2026-11-27.jsonl",
                "lighterman-2026-11-26.jsonl"
            ]
        );
    }

    #[test]
    fn what_libraries_say_below_a_warning_is_left_out_and_so_is_who_asked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.jsonl");
        let lines = [
            r#"{"level":"INFO","target":"engine","message":"a","by":"anna"}"#,
            r#"{"level":"DEBUG","target":"engine::deliver","message":"b"}"#,
            r#"{"level":"DEBUG","target":"hyper","message":"the body is Meier"}"#,
            r#"{"level":"WARN","target":"hyper","message":"c"}"#,
            "not ours: Meier",
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let (text, said) = read(&file, 1 << 20).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains("Meier") && !text.contains("anna"), "{text}");
        assert!(said[0].starts_with("2 lines are left out"), "{said:?}");

        let (text, said) = read(&file, 120).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(said[0].starts_with("cut: the last "), "{said:?}");
        assert!(read(&file, 0).is_err());
    }
}
