//! Texts kept for whoever reads them after the tests: Microsoft's parser of T-SQL (`tests/tsql`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Result, Write as _};
use std::path::Path;

/// Where texts are kept; unset, they are not.
const FOLDER: &str = "LIGHTERMAN_SENT_SQL";
/// The client whose texts are kept: the source, as it calls itself. What tests send by hand is often wrong on
/// purpose.
pub const PROGRAM: &str = "lighterman";

/// At the end of a statement that a test has the source send although it is no SQL.
const WRONG: &str = "-- wrong on purpose";

/// Keeps a text, where that is wanted: one file for each.
pub fn keep(sql: &str) -> Result<()> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return Ok(());
    };
    if sql.ends_with(WRONG) {
        return Ok(());
    }
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    let file = Path::new(&folder).join(format!("{:016x}.sql", hasher.finish()));
    match std::fs::File::create_new(file) {
        Ok(mut file) => file.write_all(sql.as_bytes()),
        // Another test has sent it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
