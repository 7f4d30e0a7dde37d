//! `lighterman source prepare`.

use contract::{Finding, Login, Preparation, Secret};

use crate::config::Config;
use crate::{Exit, out, say};

/// The password of the user that `source prepare --user` names.
const PREPARE_PASSWORD: &str = "LIGHTERMAN_PREPARE_PASSWORD";

/// Prints what must be done at each source, with the undo; does it only with `apply`; as `user`
/// where one is named.
pub(crate) async fn prepare(
    config: &Config,
    apply: bool,
    user: Option<String>,
    json: bool,
) -> Exit {
    let login = user.map(|user| Login {
        user,
        password: std::env::var(PREPARE_PASSWORD).ok().map(Secret::new),
    });
    let mut all = Vec::new();
    let mut failed = false;
    for source in &config.sources {
        let prepared = match source.setup() {
            Ok((setup, _)) => {
                let done = match &login {
                    None => setup.source.prepare(apply).await,
                    Some(login) => setup.source.prepare_as(login, apply).await,
                };
                done.map_err(|error| {
                    let what = format!("source {}", source.name);
                    let finding = Finding::fail(what, error.to_string());
                    vec![finding.fix(error.hint().unwrap_or("lighterman check says more"))]
                })
            }
            Err(findings) => Err(findings),
        };
        match prepared {
            Ok(preparation) => {
                if preparation.applied && !preparation.sql.is_empty() {
                    let details = serde_json::json!({
                        "database_user": login.as_ref().map(|login| &login.user),
                        "sql": preparation.sql,
                    });
                    let folder = &config.state_folder;
                    crate::audit::did(folder, "source.prepare", &source.name, details);
                }
                if !json {
                    show(&source.name, &preparation);
                }
                all.push(serde_json::json!({ "source": source.name, "preparation": preparation }));
            }
            Err(findings) => {
                failed = true;
                if json {
                    all.push(serde_json::json!({ "source": source.name, "findings": findings }));
                } else {
                    say(&findings);
                }
            }
        }
    }
    if json {
        out(&serde_json::Value::Array(all).to_string());
    }
    if failed { Exit::Trouble } else { Exit::Ok }
}

/// Prints them, with the undo.
pub(crate) fn show(name: &str, preparation: &Preparation) {
    if preparation.sql.is_empty() {
        out(&format!("-- source {name}: nothing to do"));
    } else {
        let done = if preparation.applied {
            "done"
        } else {
            "to do; --apply does it"
        };
        out(&format!("-- source {name}: {done}"));
        for statement in &preparation.sql {
            out(&line(statement));
        }
    }
    out("-- to undo all of it:");
    for statement in &preparation.undo {
        out(&format!("-- {}", line(statement)));
    }
}

/// A statement to run, by the tool or by a person, or the heading of some.
fn line(statement: &str) -> String {
    let end = if statement.ends_with(':') { "" } else { ";" };
    format!("{statement}{end}")
}
