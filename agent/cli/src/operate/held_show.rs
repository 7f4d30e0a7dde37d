//! `lighterman held show`: one item, with all that is known of it.

use state::{HeldAlike, HeldDetail, HeldEntry, StateReader};

use super::held_list::{MAPPING, meaning};
use super::{Failed, counted, held_look, shown};
use crate::config::Config;
use crate::plain::line;
use crate::{Exit, out, refuse};

pub(super) async fn show(
    config: &Config,
    id: &str,
    look: bool,
    json: bool,
) -> Result<Exit, Failed> {
    let reader = StateReader::open(&config.state_folder)?;
    let Some(detail) = reader.held_show(id)? else {
        return Err(Failed::Said(
            format!("nothing of the name {id:?} is held"),
            "lighterman held list shows what is, and what it is called",
        ));
    };
    let alike = reader.held_alike(&detail.entry)?;
    let looked = match &detail.entry.change {
        None if look => {
            return Err(Failed::Said(
                format!("{id} was told by its mapping, and is held at its destination"),
                "without --look: its event and the answers are shown",
            ));
        }
        Some(change) if look => match held_look::look(config, change, &detail.data).await {
            Ok(looked) => Some(looked),
            Err(findings) => return Ok(refuse(&findings, json)),
        },
        _ => None,
    };
    if json {
        let mut form = form(&detail);
        form["alike"] = serde_json::json!(alike);
        form["means"] = meaning(&detail.entry.cause).0.into();
        form["to_mend_it"] = to_mend(&detail.entry).into();
        if let Some(looked) = &looked {
            form["look"] = looked.json();
        }
        out(&form.to_string());
        return Ok(Exit::Ok);
    }
    said(&detail, &alike);
    if let Some(looked) = looked {
        out("as it is at the source now:");
        looked.print();
    }
    out(&format!("to mend it: {}", to_mend(&detail.entry)));
    Ok(Exit::Ok)
}

fn said(detail: &HeldDetail, alike: &HeldAlike) {
    let entry = &detail.entry;
    let (means, _) = meaning(&entry.cause);
    let key = line(&entry.key);
    out(&format!("{} {} {key}", entry.id, entry.event_type));
    out(&format!(
        "held since {}: {means} ({})",
        shown(alike.first_seen),
        entry.cause
    ));
    if alike.last_seen > alike.first_seen {
        out(&format!("seen last {}", shown(alike.last_seen)));
    }
    out(&format!("reason: {}", line(&entry.reason)));
    let others = alike.count - 1;
    if others > 0 {
        out(&format!(
            "{} held for the same reason, the oldest since {}",
            counted(others, "more item"),
            shown(alike.oldest)
        ));
    }
    if let Some(change) = &entry.change {
        out(&format!(
            "from source {}, table {}, rule {}, at {}",
            change.source, change.table, change.rule, change.position
        ));
    }
    for attempt in &detail.attempts {
        super::trace::attempt(attempt, "  ");
    }
    if let Some(body) = entry.body.as_deref().filter(|body| !body.is_empty()) {
        let status = entry
            .status
            .map(|status| format!(" (HTTP {status})"))
            .unwrap_or_default();
        out(&format!("last answer{status}: {}", line(body)));
    }
    out(&detail.data);
}

/// What to do about one item.
fn to_mend(entry: &HeldEntry) -> String {
    let (_, fix) = meaning(&entry.cause);
    if entry.cause == MAPPING {
        let id = &entry.id;
        return format!(
            "{fix}; lighterman held show {id} --look shows what each expression gives of the row as it is now"
        );
    }
    fix.to_owned()
}

/// All that is known of an item, for programs.
pub(super) fn form(detail: &HeldDetail) -> serde_json::Value {
    let data = serde_json::from_str(&detail.data);
    serde_json::json!({
        "held": detail.entry,
        "data": data.unwrap_or_else(|_| serde_json::Value::String(detail.data.clone())),
        "attempts": detail.attempts,
    })
}
