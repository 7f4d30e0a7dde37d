//! `lighterman init`: a settings file with every key explained, and what rows mean to begin with. At a terminal it is a
//! guided set-up; without one, or told so, it takes flags and defaults alone.
//!
//! Adapters, destination files and packs say themselves what is asked, and the settings' own readers judge each answer.

mod block;
mod channels;
mod connect;
mod draft;
mod files;
mod options;
mod pack;
mod person;
mod secrets;
mod sides;
mod site;
mod terminal;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use contract::Finding;
use serde_json::json;
use tokio::runtime::Handle;

use crate::{Exit, out, refuse, say, service};
use block::Block;
use draft::Draft;
use files::Written;
pub(crate) use options::Options;
use person::{Ask, Person};
pub(crate) use site::is_untouched;

const HEAD: &str = r#"# Settings of the Lighterman agent. Paths are relative to this file.
tenant = "my-company"
state_folder = "state"           # positions, events on their way, what was published

# [retention]                    # how long delivered events stay readable
# keep_hours = 24
# events_max = 100000

# [log]                          # docs/operating/logs.md
# level = "info"                 # error, warn, info, debug, trace
# files = true                   # JSON lines beside what goes to standard error
# folder = "state/logs"
# keep_days = 14
# file_bytes_max = 16_777_216
# total_bytes_max = 268_435_456
# event_log = false              # Windows: warnings and errors in the Event Log too

# [disk]                         # sources are not read while the state folder's disk has less free
# reserve_mib = 1024             # else 5 % of it, from 64 MiB to 1 GiB

# [check]                        # the running agent does what lighterman check does, and says what changed
# every_minutes = 60             # 0: only when a person asks

[local]                          # health and metrics for monitoring; without this block nothing listens
listen = "127.0.0.1:8350"        # only this machine reaches it
# oldest_delivery_seconds = 900  # a change that waits longer makes /health/ready say no
# behind_proxy = true            # another address: a reverse proxy with TLS and a login stands in front

# [[local.user]]                 # who may log in at http://127.0.0.1:8350/page: docs/operating/page.md
# name = "anna"
# role = "operator"              # or "viewer", who changes nothing
# secret = { file = "secrets/anna" }   # at least 12 characters

# [[local.token]]                # who may ask the local API for what: docs/operating/api.md
# name = "reports"
# secret = { env = "LIGHTERMAN_REPORTS_TOKEN" }
# scopes = ["published:read"]
# types = ["inventory.availability.v1"]

# [otlp]                         # traces and metrics for a collector: docs/operating/otlp.md
# endpoint = "http://127.0.0.1:4318"
# headers = { Authorization = { env = "OTLP_TOKEN" } }

# Who is told when something is wrong, and what else is watched: docs/operating/alerts.md
# [alerts.smtp]
# host = "mail.example.com"
# tls = "starttls"               # or "tls", "none"
# user = "lighterman"
# password = { env = "MAIL_PASSWORD" }
# from = "lighterman@example.com"
# to = ["it@example.com"]
# [[alerts.webhook]]
# shape = "teams"                # or "slack", "json"
# url = { env = "TEAMS_URL" }
# [alerts.deadman]               # told each minute that capture and delivery turn; it says when that stops
# url = { env = "DEADMAN_URL" }
"#;

/// A secret that a person types, without being shown, and twice; nothing where the person has gone.
pub(crate) fn typed() -> Option<contract::Secret> {
    person::secret().ok()
}

/// Leaves the terminal as it was found: it shows what is typed.
pub(crate) fn show_typing() {
    terminal::restore();
}

/// The settings' beginning: that of a service in its folder keeps its state and log where services do, which on Windows is
/// below that folder, as everywhere else.
fn head(folder: &Path) -> String {
    let Some(name) = service_of(folder).filter(|_| !cfg!(windows)) else {
        return HEAD.to_owned();
    };
    let mut head = Block::of(HEAD);
    head.say("state_folder", &format!("\"/var/lib/{name}\""));
    head.open("[log]");
    head.say("folder", &format!("\"/var/log/{name}\""));
    head.text()
}

/// The service whose settings stand there.
fn service_of(folder: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).ok()?;
    service::of_folder(&folder).map(str::to_owned)
}

/// The person has gone: the input has ended.
#[derive(Debug)]
struct Stop;

/// Whether files may still be written, and whether they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Written,
    Stopped,
}

pub(crate) async fn init(options: Options) -> Exit {
    let quiet = options.non_interactive || options.json || options.questions;
    let there = !quiet && terminal::is_there();
    let stage = Arc::new(Mutex::new(Stage::Asking));
    let session = Session {
        options,
        stage: Arc::clone(&stage),
        runtime: Handle::current(),
        person: Person::new(there),
    };
    // A person is waited for on a thread of its own: nothing of the process may hang on when they type.
    let mut session = tokio::task::spawn_blocking(move || session.go());
    if !there {
        return session.await.unwrap_or(Exit::Trouble);
    }
    tokio::select! {
        exit = &mut session => exit.unwrap_or(Exit::Trouble),
        Ok(()) = tokio::signal::ctrl_c() => {
            terminal::restore();
            // Waits for files that are being written: all of them, or none.
            let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
            stopped(*stage == Stage::Written);
            *stage = Stage::Stopped;
            Exit::Trouble
        }
    }
}

fn stopped(written: bool) {
    out("");
    out(if written {
        "stopped: what was written stays"
    } else {
        "stopped: nothing was written"
    });
}

struct Session {
    options: Options,
    stage: Arc<Mutex<Stage>>,
    runtime: Handle,
    person: Person,
}

impl Session {
    fn go(mut self) -> Exit {
        let json = self.options.json;
        self.ask().unwrap_or_else(|Stop| {
            let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
            if !json && stage != Stage::Stopped {
                stopped(stage == Stage::Written);
            }
            Exit::Trouble
        })
    }

    fn ask(&mut self) -> Result<Exit, Stop> {
        let json = self.options.json;
        let folder = self.options.folder.clone();
        let mut sets = match self.options.sets() {
            Ok(sets) => sets,
            Err(found) => return Ok(refuse(&[Finding::fail("init", found)], json)),
        };
        let file = folder.join("lighterman.toml");
        if self.person.there {
            if file.exists() {
                let what = format!("{} exists already", file.display());
                let finding = Finding::fail("init", what)
                    .fix("edit it, or name another folder with --folder");
                return Ok(refuse(&[finding], json));
            }
            out(
                "Enter takes what stands in brackets. Nothing is written before the end; Ctrl-C leaves.",
            );
        }
        let head = head(&folder);
        let draft = Draft::ask(&mut self.person, &self.options, &mut sets, &head)?;
        if !self.person.problems.is_empty() {
            return Ok(refuse(&self.person.problems, json));
        }
        let Some(mut draft) = draft else {
            let found = "is in no list of this program".to_owned();
            return Ok(refuse(
                &[Finding::fail("--source or --destination", found)],
                json,
            ));
        };
        if self.options.questions {
            self.list();
            return Ok(Exit::Ok);
        }
        if !self.is_fine(&draft)? {
            return Ok(Exit::Trouble);
        }
        loop {
            let written = match self.write(&folder, &draft) {
                Ok(Some(written)) => written,
                Ok(None) => return Ok(Exit::Trouble),
                Err(finding) => return Ok(refuse(&[finding], json)),
            };
            let tested = self.test(&folder)?;
            let failed = tested.as_ref().is_some_and(connect::Tested::failed);
            if failed && self.is_again()? {
                let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
                if *stage == Stage::Stopped {
                    return Err(Stop);
                }
                written.undo();
                *stage = Stage::Asking;
                drop(stage);
                draft.ask_source(&mut self.person)?;
                continue;
            }
            self.tell(&folder, &draft, &written, tested);
            return Ok(Exit::Ok);
        }
    }

    /// Whether it is written: as it should be, or as the person wants it.
    fn is_fine(&mut self, draft: &Draft) -> Result<bool, Stop> {
        let findings = draft.findings();
        if !findings.is_empty() {
            if !self.person.there {
                refuse(&findings, self.options.json);
                return Ok(false);
            }
            out("");
            say(&findings);
        }
        if !self.person.there {
            return Ok(true);
        }
        out("");
        out("These files are written:");
        for file in draft.files() {
            out(&format!(
                "  {}",
                self.options.folder.join(&file.name).display()
            ));
        }
        let ask = Ask {
            ask: "Write them?".to_owned(),
            default: Some("yes".to_owned()),
            ..Ask::default()
        };
        let fine = self.person.is_sure(&ask)?;
        if !fine {
            stopped(false);
        }
        Ok(fine)
    }

    fn write(&self, folder: &Path, draft: &Draft) -> Result<Option<Written>, Finding> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Stopped {
            return Ok(None);
        }
        let written = files::write(folder, &draft.files())?;
        *stage = Stage::Written;
        Ok(Some(written))
    }

    fn test(&mut self, folder: &Path) -> Result<Option<connect::Tested>, Stop> {
        let ask = Ask {
            flag: "--test".to_owned(),
            ask: "Try the source now?".to_owned(),
            help: "only looks; prints the SQL that an administrator must run".to_owned(),
            given: self.options.test.then(|| "yes".to_owned()),
            default: Some(if self.person.there { "yes" } else { "no" }.to_owned()),
            ..Ask::default()
        };
        if !self.person.is_sure(&ask)? {
            return Ok(None);
        }
        let tested = self.runtime.block_on(connect::test(folder));
        if !self.options.json {
            out("");
            tested.show();
        }
        Ok(Some(tested))
    }

    fn is_again(&mut self) -> Result<bool, Stop> {
        if !self.person.there {
            return Ok(false);
        }
        self.person.is_sure(&Ask {
            ask: "Change the answers about the source?".to_owned(),
            help: "no = the files stay, and lighterman check says it again".to_owned(),
            default: Some("no".to_owned()),
            ..Ask::default()
        })
    }

    /// What was written, and what comes next.
    fn tell(
        &self,
        folder: &Path,
        draft: &Draft,
        written: &Written,
        tested: Option<connect::Tested>,
    ) {
        let shown = |paths: &[std::path::PathBuf]| -> Vec<String> {
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        let (new, kept) = (shown(&written.written), shown(&written.kept));
        let (made_up, variables) = (draft.made_up(), draft.variables());
        if self.options.json {
            let mut all = json!({
                "written": new, "kept": kept, "to_change": made_up, "variables": variables,
                "next": next(folder).map(|(command, _)| command),
            });
            if let (Some(tested), Some(all)) = (tested, all.as_object_mut()) {
                all.insert("test".to_owned(), tested.json());
            }
            out(&all.to_string());
            return;
        }
        out("");
        for path in kept {
            out(&format!("{path} exists already and is left alone"));
        }
        for path in new {
            out(&format!("wrote {path}"));
        }
        if !made_up.is_empty() {
            out("To be changed first, in lighterman.toml:");
            for key in made_up {
                out(&format!("  {key}"));
            }
        }
        if !variables.is_empty() {
            out(&format!(
                "Secrets are expected in: {}",
                variables.join(", ")
            ));
        }
        out(&format!("Next, in {}:", folder.display()));
        if let Some(company) = draft.own_company() {
            out(
                "  mapping.yaml is about a table `stock` (sku, warehouse, on_hand, allocated). For another:",
            );
            out(&format!(
                "  lighterman map new --from TABLE --company {company} --to mapping.yaml   # docs/mapping.md"
            ));
        }
        for (command, what) in next(folder) {
            out(&format!("  {command:<26}  # {what}"));
        }
    }

    /// All questions with their flags.
    fn list(&self) {
        if self.options.json {
            let one = |ask: &Ask| {
                let choices: Vec<&String> = ask.choices.iter().map(|(name, _)| name).collect();
                json!({
                    "flag": ask.flag, "ask": ask.ask, "help": ask.help, "default": ask.default,
                    "optional": ask.optional, "choices": choices,
                })
            };
            let all: Vec<_> = self.person.asked.iter().map(one).collect();
            out(&json!({ "questions": all }).to_string());
            return;
        }
        for ask in &self.person.asked {
            out(&ask.flag);
            out(&format!("    {}", ask.ask));
            if !ask.help.is_empty() {
                out(&format!("    {}", ask.help));
            }
            let names: Vec<&str> = ask.choices.iter().map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                out(&format!("    one of {}", names.join(", ")));
            }
            if let Some(default) = &ask.default {
                out(&format!("    default: {default}"));
            }
        }
    }
}

/// What a person does next.
fn next(folder: &Path) -> [(&'static str, &'static str); 3] {
    [
        (
            "lighterman source prepare",
            "prints the SQL that an administrator must run, and the undo",
        ),
        ("lighterman check", "what is missing, and what mends it"),
        if service_of(folder).is_some() {
            ("lighterman service start", "as a service of this machine")
        } else {
            ("lighterman run", "until Ctrl-C")
        },
    ]
}
