//! The agent as a service of Windows: registered with the service control manager, started and ended by it.
//!
//! What the service may do does not depend on its account: rights on folders are given to the service's own
//! identity (its SID), which is part of whatever account it runs as.

mod control;
mod folder;
mod install;
mod refused;
mod running;
mod standing;

use std::path::Path;

use contract::Finding;
use serde_json::Value;

use super::ServiceCommand;
use crate::{Exit, audit, config, out, say};

pub(super) use folder::usual;
pub(crate) use running::{asked_to_stop, lines_folder, run, running};

pub(super) fn service(command: ServiceCommand) -> Exit {
    match command {
        ServiceCommand::Install(options) => install::install(&options),
        ServiceCommand::Uninstall(options) => install::uninstall(&options),
        ServiceCommand::Start(options) => control::start(&options),
        ServiceCommand::Stop(options) => control::stop(&options),
        ServiceCommand::Status(options) => control::status(&options),
        // The main thread took it: the manager's dispatcher needs one of its own.
        ServiceCommand::Run(options) => run(options),
    }
}

/// Says what was done.
fn told(json: bool, form: &Value, lines: &[String], warnings: &[Finding]) -> Exit {
    if json {
        let mut form = form.clone();
        if let Value::Object(form) = &mut form {
            form.insert("findings".to_owned(), serde_json::json!(warnings));
        }
        out(&form.to_string());
    } else {
        for line in lines {
            out(line);
        }
        say(warnings);
    }
    Exit::Ok
}

/// Notes what a person did, where there is a state to note it in.
fn note(folder: &Path, what: &str, name: &str, details: Value) {
    let file = folder.join(SETTINGS);
    let Ok(state) = config::load_state_folder(&file) else {
        return;
    };
    let state = folder.join(state);
    if state::file_path(&state).exists() {
        audit::did(&state, what, name, details);
    }
}

/// The settings' file in a folder.
const SETTINGS: &str = "lighterman.toml";

/// A word of an option for a command that a person may copy: the usual name need not be said.
fn named(name: &str) -> String {
    if name == super::NAME {
        String::new()
    } else {
        format!(" --name {name}")
    }
}
