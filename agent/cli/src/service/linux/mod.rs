//! The agent becomes a service of systemd, and is none any more; `running.rs` starts and stops it.

mod account;
mod running;
mod systemctl;
mod unit;

use std::path::{Path, PathBuf};

use contract::Finding;
use serde_json::json;

pub(super) use running::{start, status, stop};

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

pub(super) fn needs_systemd() -> Result<(), Refused> {
    if is_there() {
        return Ok(());
    }
    Err(Refused::trouble(
        Finding::fail("service", "systemd does not run this machine")
            .fix("have what does run it run: lighterman run --config <folder>/lighterman.toml"),
    ))
}

pub(super) fn needs_root(command: &str) -> Result<(), Refused> {
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
pub(super) fn note(settings: &Path, what: &str, name: &str) {
    let folder = settings.parent().unwrap_or(Path::new("/"));
    let state = config::load_state_folder(settings).map(|state| folder.join(state));
    let Ok(state) = state else { return };
    let is_there = state::StateReader::open(&state)
        .is_ok_and(|reader| reader.exists() && reader.has_audit().unwrap_or(false));
    if is_there {
        audit::did(&state, what, name, json!({}));
    }
}

pub(super) fn unit_name(name: &str) -> String {
    format!("{name}.service")
}

/// A command for a service, by its name where that is not the usual one.
pub(super) fn with_name(command: &str, name: &str) -> String {
    if name == super::NAME {
        command.to_owned()
    } else {
        format!("{command} --name {name}")
    }
}
