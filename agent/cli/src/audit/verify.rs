//! Whether entries are what was noted: those of the state file, those of an export, and both together.

use std::path::Path;

use contract::Finding;
use state::{AuditHead, AuditVerdict, StateReader, StoreError};

use super::{export, trouble};
use crate::status::state_refused;
use crate::{Exit, out};

const WHAT: &str = "audit record";
/// What to do about entries that are not what was noted.
const MEND: &str = "keep a copy of the state folder, and find out who could write to it; \
                    docs/operating/audit.md says what else can be known";

/// As it is printed: `17:3fa4..`.
pub(super) fn shown(head: &AuditHead) -> String {
    format!("{}:{}", head.number, head.hash)
}

/// A place as it was printed.
pub(super) fn place(text: &str) -> Result<AuditHead, String> {
    let parts = text.trim().split_once(':');
    let read = parts.and_then(|(number, hash)| Some((number.parse().ok()?, hash)));
    match read {
        Some((number, hash)) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(AuditHead {
                number,
                hash: hash.to_ascii_lowercase(),
            })
        }
        _ => Err("write it as lighterman audit head printed it: a number, a colon, 64 hexadecimal digits".into()),
    }
}

/// The state file's own record, and whether it still has an entry that somebody kept.
pub(super) fn state(
    reader: &StateReader,
    kept: Option<&AuditHead>,
    json: bool,
) -> Result<Exit, StoreError> {
    let Some(verdict) = reader.audit_verified()? else {
        return Ok(trouble(&[Finding::fail(WHAT, "there is none")], json));
    };
    let mut findings = vec![of_itself(WHAT, &verdict)];
    if let Some(kept) = kept {
        findings.push(still_there(reader, kept)?);
    }
    Ok(say(&verdict, &findings, json))
}

/// An export by itself, and beside the state file where there is one.
pub(super) fn export(file: &Path, folder: Option<&Path>, json: bool) -> Exit {
    let verdict = match export::verified(file) {
        Ok(verdict) => verdict,
        Err(finding) => return trouble(&[finding], json),
    };
    let what = file.display().to_string();
    let mut findings = vec![of_itself(&what, &verdict)];
    let reader = folder.map(StateReader::open).transpose();
    match reader {
        Ok(Some(reader)) if reader.exists() => match still_there(&reader, &verdict.head) {
            Ok(finding) => findings.push(finding),
            Err(error) => return state_refused("read the audit record", &error, json),
        },
        Ok(_) => findings.push(Finding::warn(
            "state file",
            "there is none here: only the export was looked at",
        )),
        Err(error) => return state_refused("read the audit record", &error, json),
    }
    say(&verdict, &findings, json)
}

fn of_itself(what: &str, verdict: &AuditVerdict) -> Finding {
    match &verdict.wrong {
        Some(wrong) => Finding::fail(what, wrong.clone()).fix(MEND),
        None if verdict.entries == 0 => Finding::pass(what, "has no entry yet"),
        None => Finding::pass(
            what,
            format!(
                "hangs together: entries {} to {}",
                verdict.begins.number.saturating_add(1),
                verdict.head.number
            ),
        ),
    }
}

/// Whether the state file has an entry that somebody kept the hash of.
fn still_there(reader: &StateReader, kept: &AuditHead) -> Result<Finding, StoreError> {
    const WHAT: &str = "state file";
    let number = kept.number;
    Ok(match reader.audit_at(number)? {
        Some(there) if there == *kept => Finding::pass(
            WHAT,
            format!("has entry {number} as it was kept, and so all those before it"),
        ),
        Some(_) => Finding::fail(
            WHAT,
            format!(
                "has another entry {number} than was kept: what stands up to it was written anew"
            ),
        )
        .fix(MEND),
        None => {
            let newest = reader.audit_head()?.map_or(0, |(head, _)| head.number);
            if newest > number {
                let found = format!(
                    "has let entry {number} go since, for its age: it cannot be compared with what was kept"
                );
                Finding::warn(WHAT, found).fix("export more often; keep the newest exports")
            } else {
                let found = format!(
                    "ends at entry {newest}, and entry {number} was kept: its end was cut off, or an older state \
                     was restored whose record the replaced one did not go on from"
                );
                Finding::fail(WHAT, found).fix(MEND)
            }
        }
    })
}

fn say(verdict: &AuditVerdict, findings: &[Finding], json: bool) -> Exit {
    if json {
        out(&serde_json::json!({ "record": verdict, "findings": findings }).to_string());
    } else {
        crate::say(findings);
        if verdict.wrong.is_none() && verdict.entries > 0 {
            out(&format!("Its head is {}", shown(&verdict.head)));
        }
    }
    if contract::finding::worst(findings) == contract::Level::Fail {
        Exit::Trouble
    } else {
        Exit::Ok
    }
}
