//! The service is started and stopped, and how it stands.

use std::path::Path;

use contract::Finding;
use serde_json::json;

use super::super::{Done, Refused};
use super::systemctl::{Standing, run};
use super::{account, installed, needs_root, needs_systemd, note, unit, unit_name, with_name};
use crate::config;

/// Starts it, after a look at what would keep it from starting.
pub(in super::super) fn start(name: &str) -> Result<Done, Refused> {
    needs_systemd()?;
    needs_root("start")?;
    let unit = unit_name(name);
    let standing = installed(name)?;
    let mut done = Done::default();
    let text = std::fs::read_to_string(standing.get("FragmentPath")).unwrap_or_default();
    let settings = unit::settings(&text);
    if let Some(settings) = &settings {
        done.warnings.extend(fits(name, settings)?);
    }
    // A person asks: what failed before is not counted against it.
    let _ = run("systemctl", &["reset-failed", &unit]);
    if let Err(mut refused) = run("systemctl", &["start", &unit]) {
        refused.finding = refused.finding.fix(journal(name));
        return Err(refused);
    }
    let standing = Standing::of(&unit)?;
    if !standing.is_active() {
        let found = format!(
            "{} ({})",
            standing.get("ActiveState"),
            standing.get("Result")
        );
        return Err(Refused::trouble(
            Finding::fail(format!("start {name}"), found).fix(journal(name)),
        ));
    }
    done.lines.push(sentence(name, &standing));
    if standing.get("UnitFileState") == "disabled" {
        run("systemctl", &["enable", "--quiet", &unit])?;
        done.lines
            .push(format!("{name} starts with this machine from now on"));
        done.undo.push(format!("systemctl disable {name}"));
    }
    done.undo.push(with_name("lighterman service stop", name));
    if let Some(settings) = &settings {
        note(settings, "service.start", name);
    }
    Ok(done)
}

/// Whether a service with these settings can start; what should be known.
fn fits(name: &str, settings: &Path) -> Result<Vec<Finding>, Refused> {
    let folder = settings.parent().unwrap_or(Path::new("/"));
    let what = format!("start {name}");
    if !settings.exists() {
        let found = format!("{} is not there yet", settings.display());
        let fix = format!("lighterman init --folder {}", folder.display());
        return Err(Refused::settings(Finding::fail(what, found).fix(fix)));
    }
    if let Some(group) = account::group(name)
        && let Some(path) = account::unreadable(folder, group)
    {
        let found = format!("user {name} may not read {}", path.display());
        let shown = folder.display();
        let fix = format!("chgrp -R {name} {shown}; chmod -R g+rX,o-rwx {shown}");
        return Err(Refused::trouble(Finding::fail(what, found).fix(fix)));
    }
    let home = format!("/var/lib/{name}");
    let state = config::load_state_folder(settings).map(|state| folder.join(state));
    let state = state.ok();
    // As it is after a trial by root.
    let file = state.as_deref().map(state::file_path);
    if let Some(file) = file.filter(|file| account::is_others(file, name)) {
        let found = format!("{} belongs to another user than {name}", file.display());
        let folder = file.parent().unwrap_or(&file).display();
        let fix = format!("while no agent runs: chown -R {name}: {folder}");
        return Err(Refused::trouble(Finding::fail(what, found).fix(fix)));
    }
    let other = state.filter(|state| !state.starts_with(&home));
    let warning = other.map(|state| {
        let found = format!("is {}; the service may write {home}", state.display());
        Finding::warn("state_folder", found).fix(format!(
            "state_folder = \"{home}\", or systemctl edit {name}: [Service] ReadWritePaths={}",
            state.display()
        ))
    });
    Ok(warning.into_iter().collect())
}

/// Stops it.
pub(in super::super) fn stop(name: &str) -> Result<Done, Refused> {
    needs_systemd()?;
    needs_root("stop")?;
    let unit = unit_name(name);
    let before = installed(name)?;
    run("systemctl", &["stop", &unit])?;
    let mut done = Done::default();
    if before.is_active() {
        let line = format!("{name} is stopped; it starts again with this machine");
        done.lines.push(line);
        done.undo.push(with_name("lighterman service start", name));
    } else {
        done.lines.push(format!("{name} did not run"));
    }
    let text = std::fs::read_to_string(before.get("FragmentPath")).unwrap_or_default();
    if let Some(settings) = unit::settings(&text).filter(|_| before.is_active()) {
        note(&settings, "service.stop", name);
    }
    Ok(done)
}

/// Says whether it runs.
pub(in super::super) fn status(name: &str) -> Result<Done, Refused> {
    needs_systemd()?;
    let standing = installed(name)?;
    let mut done = Done {
        trouble: !standing.is_active(),
        ..Done::default()
    };
    done.lines.push(sentence(name, &standing));
    if !standing.get("StatusText").is_empty() && standing.is_active() {
        done.lines.push(standing.get("StatusText").to_owned());
    }
    let text = std::fs::read_to_string(standing.get("FragmentPath")).unwrap_or_default();
    match unit::settings(&text).filter(|settings| !settings.exists()) {
        Some(settings) if done.trouble => {
            let folder = settings.parent().unwrap_or(&settings).display();
            done.next.push(format!("lighterman init --folder {folder}"));
        }
        _ if done.trouble => {
            done.next.push(with_name("lighterman service start", name));
            done.next.push(format!("journalctl -u {name} -n 50"));
        }
        _ => {}
    }
    let number = |key| standing.get(key).parse::<u64>().ok();
    done.more = vec![
        ("service", json!(name)),
        ("active", json!(standing.is_active())),
        ("state", json!(standing.get("ActiveState"))),
        ("result", json!(standing.get("Result"))),
        ("enabled", json!(standing.get("UnitFileState") == "enabled")),
        ("pid", json!(number("MainPID").filter(|pid| *pid > 0))),
        ("restarts", json!(number("NRestarts"))),
        ("says", json!(standing.get("StatusText"))),
    ];
    Ok(done)
}

/// How it stands, in a sentence.
fn sentence(name: &str, standing: &Standing) -> String {
    let state = standing.get("ActiveState");
    if standing.is_active() {
        let again = match standing.get("NRestarts") {
            "" | "0" => String::new(),
            times => format!("; it was started again {times} times by systemd"),
        };
        return format!(
            "{name} runs (process {}) since {}{again}",
            standing.get("MainPID"),
            standing.get("ActiveEnterTimestamp")
        );
    }
    match (state, standing.get("Result")) {
        ("failed", result) => format!(
            "{name} does NOT run: it failed ({result}, exit code {})",
            standing.get("ExecMainStatus")
        ),
        ("activating", _) => format!("{name} is starting"),
        ("deactivating", _) => format!("{name} is stopping"),
        _ if standing.get("ConditionResult") == "no"
            && !standing.get("FragmentPath").is_empty() =>
        {
            format!("{name} does NOT run; it has not been started, or has no settings yet")
        }
        _ => format!("{name} does NOT run"),
    }
}

fn journal(name: &str) -> String {
    format!("journalctl -u {name} -n 50 says why")
}
