//! Files that people write, as text: bounded, and with words about what is none.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use contract::finding::{Finding, Place, nearest};
use contract::text::{SAVE_AS, decode};

/// No file that a person writes is larger.
const BYTES_MAX: u64 = 4 << 20;

/// The text of a file; `what` names it in messages.
///
/// # Errors
/// Why it cannot be read, and where it is no text.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, Finding> {
    let shown = path.display().to_string();
    let refused = |found: String| Finding::fail(format!("{what} {shown}"), found);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let fix = advice(path, &error);
        return Err(refused(error.to_string()).fix(fix));
    }
    if bytes.len() as u64 > BYTES_MAX {
        let fix = "name a text file that a person wrote";
        return Err(refused(format!("is larger than {BYTES_MAX} bytes")).fix(fix));
    }
    decode(&bytes).map_err(|not| {
        let mut finding = Finding::fail("file", not.found).fix(SAVE_AS);
        finding.place = Some(Box::new(Place {
            file: shown,
            line: not.line,
            column: not.column,
        }));
        finding
    })
}

/// What to do about a file that cannot be read.
fn advice(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if std::fs::symlink_metadata(path).is_ok() => {
            "it is a link to what is not there".to_owned()
        }
        io::ErrorKind::NotFound => beside(path).map_or_else(
            || "see that the name is right; names are relative to the settings' folder".to_owned(),
            |near| format!("did you mean `{near}`?"),
        ),
        io::ErrorKind::IsADirectory => "name the file in the folder".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "let the user as whom the agent runs read it, and enter its folders".to_owned()
        }
        _ => "see that it is a file, and that its disk is well".to_owned(),
    }
}

/// A file of almost that name in the same folder.
fn beside(path: &Path) -> Option<String> {
    /// More is no folder that a person looks through.
    const ENTRIES_MAX: usize = 1_000;
    let wanted = path.file_name()?.to_str()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let mut names: Vec<String> = entries
        .take(ENTRIES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let near = nearest(wanted, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}
