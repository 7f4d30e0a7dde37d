//! The agent as a service of systemd.

mod account;
mod systemctl;
mod unit;

use std::path::{Path, PathBuf};

use contract::Finding;
use serde_json::json;

use super::{Done, Refused};
use crate::{audit, config};
use systemctl::{Standing, is_there, run};

/// A service does not see what is below these: it has no homes, and a folder for temporary files of its own.
const UNSEEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Makes the agent a service.
pub(super) fn install(name: &str, folder: &Path, dry_run: bool) -> Result<Done, Refused> {
    let program = own_program()?;
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if !unit::is_plain(&folder) {
        let finding = Finding::fail(
            "--folder",
            "has letters that a unit of systemd reads in another way",
        );
        return Err(Refused::settings(
            finding.fix("name one of Latin letters, digits and . _ - + @"),
        ));
    }
    if is_below(&folder, &UNSEEN) {
        let finding = Finding::fail("--folder", "a service does not see what is there");
        return Err(Refused::settings(finding.fix("--folder /etc/lighterman")));
    }
    let path = unit::path(name);
    let text = unit::text(name, &folder, &program);
    let seen = seen(&program);
    if dry_run {
        return Ok(Done {
            warnings: seen.into_iter().collect(),
            lines: vec![format!("would write {}:", path.display()), text.clone()],
            more: vec![("unit", json!(text)), ("path", json!(path))],
            ..Done::default()
        });
    }
    needs_systemd()?;
    needs_root("install")?;
    if let Some(finding) = seen {
        return Err(Refused::trouble(finding));
    }
    if let Some(owned) = unit::of_package(name) {
        let found = format!("a package brought {}", owned.display());
        return Err(Refused::trouble(Finding::fail("install the service", found).fix(format!(
            "it is installed: lighterman service start; a second one needs another name: --name {name}-2"
        ))));
    }
    let before = std::fs::read_to_string(&path).ok();
    if before
        .as_deref()
        .is_some_and(|before| !unit::is_ours(before))
    {
        let found = format!(
            "{} is there and was not written by this command",
            path.display()
        );
        return Err(Refused::trouble(
            Finding::fail("install the service", found)
                .fix("remove it, or take another name with --name"),
        ));
    }

    let mut done = Done::default();
    let group = match account::group(name) {
        Some(group) => group,
        None => make_user(name, &mut done)?,
    };
    if account::folder(&folder, group)? {
        done.lines.push(format!(
            "{} belongs to group {name}, which may read what is in it; nobody else may",
            folder.display()
        ));
    }
    write(&path, &text)?;
    done.lines.push(format!("wrote {}", path.display()));
    run("systemctl", &["daemon-reload"])?;
    run("systemctl", &["enable", "--quiet", &unit_name(name)])?;
    done.lines.push(format!("{name} starts with this machine"));
    if !folder.join("lighterman.toml").exists() {
        let folder = folder.display();
        done.next.push(format!("lighterman init --folder {folder}"));
        done.next.push(format!(
            "lighterman check --config {folder}/lighterman.toml"
        ));
    }
    done.next.push(with_name("lighterman service start", name));
    done.undo
        .push(with_name("lighterman service uninstall", name));
    note(&folder.join("lighterman.toml"), "service.install", name);
    Ok(done)
}

/// Makes the service's user: the number of its group.
fn make_user(name: &str, done: &mut Done) -> Result<u32, Refused> {
    let file = account::sysusers_path(name);
    write(&file, &account::sysusers(name))?;
    run("systemd-sysusers", &[&file.display().to_string()])?;
    done.lines
        .push(format!("made user {name} ({})", file.display()));
    account::group(name).ok_or_else(|| {
        Refused::trouble(
            Finding::fail(format!("make user {name}"), "systemd-sysusers made none").fix(format!(
                "useradd --system --home-dir /var/lib/{name} {name}, and ask again"
            )),
        )
    })
}

/// Takes it back.
pub(super) fn uninstall(name: &str) -> Result<Done, Refused> {
    needs_systemd()?;
    needs_root("uninstall")?;
    let path = unit::path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if !unit::is_ours(&text) {
        let finding = match unit::of_package(name) {
            Some(owned) => Finding::fail(
                "uninstall the service",
                format!("a package brought {}", owned.display()),
            )
            .fix("remove the package: apt remove lighterman, or dnf remove lighterman"),
            None => Finding::fail(
                "uninstall the service",
                format!(
                    "{} was not written by lighterman service install",
                    path.display()
                ),
            )
            .fix("with --name, where the service is called otherwise"),
        };
        return Err(Refused::trouble(finding));
    }
    let settings = unit::settings(&text);
    if let Some(settings) = &settings {
        note(settings, "service.uninstall", name);
    }
    let unit = unit_name(name);
    run("systemctl", &["disable", "--now", "--quiet", &unit])?;
    remove(&path)?;
    run("systemctl", &["daemon-reload"])?;
    // One that had not failed is no failure.
    let _ = run("systemctl", &["reset-failed", &unit]);
    let mut done = Done::default();
    done.lines
        .push(format!("stopped {name} and removed {}", path.display()));
    let file = account::sysusers_path(name);
    if file.exists() {
        remove(&file)?;
        done.lines.push(format!("removed {}", file.display()));
    }
    let folder = settings.as_deref().and_then(Path::parent);
    let folder = folder.map_or_else(String::new, |folder| format!("{} ", folder.display()));
    done.lines.push(format!(
        "what it knew stays; to remove it, too: rm -r {folder}/var/lib/{name} /var/log/{name}; userdel {name}"
    ));
    done.undo
        .push(with_name("lighterman service install", name));
    Ok(done)
}

/// Starts it, after a look at what would keep it from starting.
pub(super) fn start(name: &str) -> Result<Done, Refused> {
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
    let other = state.ok().filter(|state| !state.starts_with(&home));
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
pub(super) fn stop(name: &str) -> Result<Done, Refused> {
    needs_systemd()?;
    needs_root("stop")?;
    let unit = unit_name(name);
    let before = installed(name)?;
    run("systemctl", &["stop", &unit])?;
    let mut done = Done::default();
    done.lines.push(if before.is_active() {
        format!("{name} is stopped; it starts again with this machine")
    } else {
        format!("{name} did not run")
    });
    done.undo.push(with_name("lighterman service start", name));
    let text = std::fs::read_to_string(before.get("FragmentPath")).unwrap_or_default();
    if let Some(settings) = unit::settings(&text).filter(|_| before.is_active()) {
        note(&settings, "service.stop", name);
    }
    Ok(done)
}

/// Says whether it runs.
pub(super) fn status(name: &str) -> Result<Done, Refused> {
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
    if done.trouble {
        done.next.push(with_name("lighterman service start", name));
        done.next.push(journal(name));
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

/// The unit as systemd knows it.
fn installed(name: &str) -> Result<Standing, Refused> {
    let standing = Standing::of(&unit_name(name))?;
    if standing.is_installed() {
        return Ok(standing);
    }
    let found = match standing.get("LoadState") {
        "" | "not-found" => "is not installed".to_owned(),
        other => format!("systemd says that its unit is {other}"),
    };
    Err(Refused::trouble(
        Finding::fail(format!("service {name}"), found)
            .fix(with_name("lighterman service install", name)),
    ))
}

/// This program.
fn own_program() -> Result<PathBuf, Refused> {
    std::env::current_exe()
        .and_then(|program| program.canonicalize())
        .map_err(|error| Refused::trouble(Finding::fail("find this program", error.to_string())))
}

/// Why a service cannot run a program where it is; `None` = it can.
fn seen(program: &Path) -> Option<Finding> {
    if !is_below(program, &UNSEEN) && unit::is_plain(program) {
        return None;
    }
    let shown = program.display();
    let finding = Finding::fail(
        "install the service",
        format!("a service does not see {shown}"),
    );
    Some(finding.fix(format!(
        "install -m 755 {shown} /usr/local/bin/lighterman, and call that one"
    )))
}

fn is_below(path: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

fn needs_systemd() -> Result<(), Refused> {
    if is_there() {
        return Ok(());
    }
    Err(Refused::trouble(
        Finding::fail("service", "systemd does not run this machine")
            .fix("have what does run it run: lighterman run --config <folder>/lighterman.toml"),
    ))
}

fn needs_root(command: &str) -> Result<(), Refused> {
    if account::is_root() {
        return Ok(());
    }
    Err(Refused::trouble(
        Finding::fail("service", "only root may do this")
            .fix(format!("sudo lighterman service {command}")),
    ))
}

fn write(path: &Path, text: &str) -> Result<(), Refused> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        use std::io::Write as _;
        use std::os::unix::fs::PermissionsExt as _;
        // Whole or not at all: systemd may read it at any time.
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    });
    written.map_err(|error| {
        Refused::trouble(Finding::fail(
            format!("write {}", path.display()),
            error.to_string(),
        ))
    })
}

fn remove(path: &Path) -> Result<(), Refused> {
    std::fs::remove_file(path).map_err(|error| {
        Refused::trouble(Finding::fail(
            format!("remove {}", path.display()),
            error.to_string(),
        ))
    })
}

/// Notes it in the audit record, where there is one yet.
fn note(settings: &Path, what: &str, name: &str) {
    let folder = settings.parent().unwrap_or(Path::new("/"));
    let state = config::load_state_folder(settings).map(|state| folder.join(state));
    let Ok(state) = state else { return };
    let is_there = state::StateReader::open(&state)
        .is_ok_and(|reader| reader.exists() && reader.has_audit().unwrap_or(false));
    if is_there {
        audit::did(&state, what, name, json!({}));
    }
}

fn unit_name(name: &str) -> String {
    format!("{name}.service")
}

/// A command for a service, by its name where that is not the usual one.
fn with_name(command: &str, name: &str) -> String {
    if name == super::NAME {
        command.to_owned()
    } else {
        format!("{command} --name {name}")
    }
}

fn journal(name: &str) -> String {
    format!("journalctl -u {name} -n 50 says why")
}
