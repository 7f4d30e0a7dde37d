//! What must be right before the database can be captured.

mod server;
mod table;

use std::time::Duration;

use contract::{CapturedTable, Finding, SourceError};

use crate::connect::{self, Rights, place};
use crate::denials::Denials;
use crate::has;
use crate::settings::{Settings, TlsMode, is_local};

/// All of it, within the 20 seconds a check may take.
const CHECK_MAX: Duration = Duration::from_secs(18);

struct Looking<'a> {
    source: &'a str,
    settings: &'a Settings,
    /// Whom the database takes us for.
    user: String,
    /// What is denied it.
    denials: Denials,
    findings: Vec<Finding>,
}

pub(crate) async fn check(
    source: &str,
    settings: &Settings,
    tables: &[CapturedTable],
) -> Vec<Finding> {
    let mut looking = Looking {
        source,
        settings,
        user: String::new(),
        denials: Denials::default(),
        findings: Vec::new(),
    };
    let looked = tokio::time::timeout(CHECK_MAX, looking.look(tables)).await;
    let what = looking.what("database");
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let mut finding = Finding::fail(what, error.to_string());
            let fix = error.hint().unwrap_or(
                "see that the server runs and listens on TCP, and that host, port (or instance), name \
                 resolution and firewall are right",
            );
            finding.fix = Some(fix.to_owned());
            looking.findings.push(finding);
        }
        Err(_) => {
            let found = format!(
                "answers too slowly: stopped after {} s",
                CHECK_MAX.as_secs()
            );
            looking.findings.push(Finding::fail(what, found));
        }
    }
    looking.findings
}

impl Looking<'_> {
    fn what(&self, part: &str) -> String {
        format!("source {}: {part}", self.source)
    }

    fn pass(&mut self, part: &str, found: impl Into<String>) {
        let finding = Finding::pass(self.what(part), found);
        self.findings.push(finding);
    }

    fn warn(&mut self, part: &str, found: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::warn(self.what(part), found).fix(fix);
        self.findings.push(finding);
    }

    fn fail(&mut self, part: &str, found: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::fail(self.what(part), found).fix(fix);
        self.findings.push(finding);
    }

    async fn look(&mut self, tables: &[CapturedTable]) -> Result<(), SourceError> {
        let mut session = connect::connect(self.settings, Rights::Read).await?;
        let answers = place(&self.settings.server).replacen("connect to ", "", 1);
        self.pass("database", format!("{answers} answers"));
        self.tls();
        let asked = self.server(&mut session).await?;
        self.denials = Denials::read(&mut session, &self.user).await?;
        self.names(tables);
        let mut modes = Vec::new();
        for captured in tables {
            modes.extend(self.table(&mut session, captured, &asked).await?);
        }
        self.capturing(&mut session, &asked, &modes).await?;
        self.tracking(&asked, &modes);
        Ok(())
    }

    /// Tables that the settings name as no mapping does.
    fn names(&mut self, tables: &[CapturedTable]) {
        let read: Vec<_> = tables.iter().map(|one| one.table.clone()).collect();
        let settings = self.settings;
        for (name, meant) in has::misnamed(settings.modes.keys(), &read) {
            let found = format!("names table {name}, which no mapping reads: it has no effect");
            match meant {
                Some(meant) => self.fail("modes", found, format!("did you mean \"{meant}\"?")),
                None => self.warn("modes", found, "take it out of modes in the settings"),
            }
        }
    }

    fn tls(&mut self) {
        let host = &self.settings.server.host;
        match self.settings.tls(host) {
            TlsMode::VerifyFull => {}
            TlsMode::Disable if is_local(host) => {}
            TlsMode::Disable => {
                self.warn(
                    "tls",
                    "rows travel unencrypted, and the password nearly so",
                    "tls = \"verify-full\"",
                );
            }
            TlsMode::VerifyCa => self.warn(
                "tls",
                "the server's authority is verified, its name is not: any server the authority signed for is \
                 believed",
                "tls = \"verify-full\"",
            ),
            TlsMode::Require => self.warn(
                "tls",
                "the connection is encrypted, but whoever answers is believed",
                "tls = \"verify-full\", with ca_file where the authority is your own",
            ),
        }
    }
}
