//! `lighterman audit`: who changed what, shown, exported and verified; and noting it.
//!
//! The commands read of the settings only where the state is: they work without any secret.

mod export;
mod note;
mod person;
mod running;
mod verify;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use contract::Finding;
use jiff::Timestamp;
use state::{AuditFilter, AuditHead, AuditRecord, StateReader, StoreError};

pub(crate) use note::did;
pub(crate) use person::person;
pub(crate) use running::Notes;

use crate::operate::moment;
use crate::status::state_refused;
use crate::{Common, Exit, beside_settings, config, out, refuse};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Who changed what and when, the newest last.
    Show {
        #[command(flatten)]
        common: Common,
        /// Noted then or later.
        #[arg(long, value_parser = moment)]
        since: Option<Timestamp>,
        /// By this one: os:anna, or only anna; agent.
        #[arg(long)]
        who: Option<String>,
        /// This: held.retry, or all of held.
        #[arg(long)]
        what: Option<String>,
        /// To this, or a part of it: a destination, a source, a setting's path.
        #[arg(long)]
        subject: Option<String>,
        /// The newest so many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Writes all of it as JSON lines, to be kept where nobody of here can change it.
    Export {
        #[command(flatten)]
        common: Common,
        /// A file that does not exist, or a folder, in which it gets a name of its own.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Looks whether nobody changed, removed or swapped an entry.
    Verify {
        #[command(flatten)]
        common: Common,
        /// An export: by itself, and whether the state file still says what it says.
        #[arg(long, value_name = "EXPORT")]
        file: Option<PathBuf>,
        /// What audit head once printed: whether the state file still has that very entry.
        #[arg(long, value_name = "NUMBER:HASH", conflicts_with = "file", value_parser = verify::place)]
        head: Option<AuditHead>,
    },
    /// The number and hash of the newest entry: kept elsewhere, they witness all entries up to it.
    Head {
        #[command(flatten)]
        common: Common,
    },
}

pub(crate) fn audit(command: &AuditCommand) -> Exit {
    let (AuditCommand::Show { common, .. }
    | AuditCommand::Export { common, .. }
    | AuditCommand::Verify { common, .. }
    | AuditCommand::Head { common }) = command;
    let json = common.json;
    // What a person names is seen from where that person stands.
    let named = match command {
        AuditCommand::Export { to, .. } => Some(to),
        AuditCommand::Verify { file, .. } => file.as_ref(),
        AuditCommand::Show { .. } | AuditCommand::Head { .. } => None,
    };
    let named = named.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let folder = beside_settings(common).and_then(|file| config::load_state_folder(&file));
    if let (AuditCommand::Verify { .. }, Some(file)) = (command, &named) {
        // Whoever checks an export may have nothing else.
        return verify::export(file, folder.ok().as_deref(), json);
    }
    let folder = match folder {
        Ok(folder) => folder,
        Err(findings) => return refuse(&findings, json),
    };
    let reader = match opened(&folder) {
        Ok(reader) => reader,
        Err(error) => return state_refused("read the audit record", &error, json),
    };
    let done = match command {
        AuditCommand::Show {
            since,
            who,
            what,
            subject,
            limit,
            ..
        } => {
            let which = AuditFilter {
                since: *since,
                who: who.clone(),
                what: what.clone(),
                subject: subject.clone(),
                limit: *limit,
            };
            show(&reader, &which, json)
        }
        AuditCommand::Export { .. } => export::export(&reader, &named.unwrap_or_default(), json),
        AuditCommand::Verify { head, .. } => verify::state(&reader, head.as_ref(), json),
        AuditCommand::Head { .. } => head(&reader, json),
    };
    done.unwrap_or_else(|error| state_refused("read the audit record", &error, json))
}

/// The state file, where it has a record.
fn opened(folder: &Path) -> Result<StateReader, StoreError> {
    let reader = StateReader::open(folder)?;
    if !reader.exists() {
        let file = state::file_path(folder);
        return Err(StoreError::Missing { file });
    }
    if reader.has_audit()? {
        return Ok(reader);
    }
    Err(StoreError::Refused {
        what: "read the audit record".to_owned(),
        why: "the state file is of an older version, which kept none".to_owned(),
        hint: "lighterman state migrate while no agent runs; starting this version's agent does the same"
            .to_owned(),
    })
}

fn show(reader: &StateReader, which: &AuditFilter, json: bool) -> Result<Exit, StoreError> {
    let found = reader.audit(which)?;
    if json {
        let entries: Vec<_> = found.iter().map(form).collect();
        out(&serde_json::json!({ "entries": entries }).to_string());
        return Ok(Exit::Ok);
    }
    for record in &found {
        out(&line(record));
    }
    if found.is_empty() {
        out("Nothing like that is on record.");
    } else if found.len() as u64 == u64::from(which.limit) {
        out(&format!("The newest {}; more with --limit.", which.limit));
    }
    Ok(Exit::Ok)
}

/// An entry for people, on one line whatever somebody wrote into it.
fn line(record: &AuditRecord) -> String {
    let details = match record.details.as_str() {
        "{}" | "null" => "",
        details => details,
    };
    let text = format!(
        "{:>5}  {}  {}  {}  {}  {details}",
        record.number,
        record.moment(),
        record.who,
        record.what,
        record.subject
    );
    let plain = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.trim_end().chars().map(plain).collect()
}

/// An entry for programs that only look: its details as JSON and not as the text that is hashed.
pub(crate) fn form(record: &AuditRecord) -> serde_json::Value {
    let details = serde_json::from_str(&record.details);
    serde_json::json!({
        "number": record.number,
        "at": record.moment(),
        "who": record.who,
        "what": record.what,
        "subject": record.subject,
        "details": details.unwrap_or_else(|_| serde_json::Value::from(record.details.as_str())),
        "previous": record.previous,
        "hash": record.hash,
    })
}

fn head(reader: &StateReader, json: bool) -> Result<Exit, StoreError> {
    let Some((head, at)) = reader.audit_head()? else {
        let found = "it has no entry yet";
        return Ok(trouble(&[Finding::fail("audit record", found)], json));
    };
    if json {
        let form = serde_json::json!({ "number": head.number, "hash": head.hash, "at": at });
        out(&form.to_string());
        return Ok(Exit::Ok);
    }
    let place = verify::shown(&head);
    out(&place);
    out(&format!(
        "Entry {}, noted {at:.3}. Keep the line above where nobody of here can change it; later\n  \
         lighterman audit verify --head {place}\nsays whether any entry up to it was changed or removed.",
        head.number
    ));
    Ok(Exit::Ok)
}

/// Says what is wrong.
fn trouble(findings: &[Finding], json: bool) -> Exit {
    refuse(findings, json);
    Exit::Trouble
}
