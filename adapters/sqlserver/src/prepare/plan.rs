//! What is to be done for the tables of the mappings.

use contract::{CapturedTable, Preparation, SourceError, TableName};

use super::steps::Steps;
use super::{captures, tracks};
use crate::catalogue::{self, Table};
use crate::denials::Denials;
use crate::errors::denied;
use crate::grants::{self, Agent, Grants};
use crate::has::{self, Asked, Has};
use crate::mode;
use crate::probe::{self, TableRights};
use crate::session::Session;
use crate::settings::{Mode, Settings};
use crate::sql::{self, name};

/// What a plan is made from.
pub(super) struct Planning<'a> {
    pub(super) settings: &'a Settings,
    pub(super) asked: Asked,
    /// The rights that the agent's user was granted by name.
    pub(super) grants: Grants,
    /// The rights that it, or a role it is in, was denied.
    pub(super) denials: Denials,
    pub(super) agent: &'a Agent,
    /// The agent itself asks.
    pub(super) own: bool,
    /// Whether SQL Server Agent runs; `None` = it cannot be known, or there is none.
    pub(super) agent_runs: Option<bool>,
    pub(super) tables: Vec<Wanted<'a>>,
}

/// A table that the mappings ask for.
pub(super) struct Wanted<'a> {
    pub(super) captured: &'a CapturedTable,
    pub(super) table: Table,
    pub(super) mode: Mode,
    /// Nobody chose the mode, and what would tell more cannot be turned on here.
    pub(super) is_second: bool,
    /// Our own rights on it, whichever role they come from.
    pub(super) rights: Option<TableRights>,
}

impl Wanted<'_> {
    pub(super) fn is_captured(&self) -> bool {
        matches!(self.mode, Mode::Cdc | Mode::CdcFunction)
    }
}

/// Makes the plan.
pub(super) async fn plan(
    settings: &Settings,
    captured: &[CapturedTable],
    agent: &Agent,
    own: bool,
    session: &mut Session,
) -> Result<Preparation, SourceError> {
    let asked = Asked::read(session).await?;
    if !asked.database.writable {
        return Err(denied(
            format!(
                "prepare: database {} can only be read here",
                asked.database.name
            ),
            "set host to the primary, without read_only_intent",
        ));
    }
    let agent_runs = if asked.engine.needs_agent() {
        probe::agent(session).await?.known().copied().flatten()
    } else {
        Some(true)
    };
    let mut planning = Planning {
        settings,
        asked,
        grants: Grants::read(session, agent).await?,
        denials: match agent {
            Agent::User(user) => Denials::read(session, user).await?,
            Agent::Login(_) | Agent::Nobody(_) => Denials::default(),
        },
        agent,
        own,
        agent_runs,
        tables: Vec::new(),
    };
    for wanted in captured {
        let wanted = planning.wanted(session, wanted).await?;
        planning.tables.push(wanted);
    }
    let mut steps = Steps::default();
    user(&mut steps, agent);
    planning.names(&mut steps, captured);
    planning.snapshots(&mut steps);
    captures::plan(&planning, &mut steps, session).await?;
    tracks::plan(&planning, &mut steps);
    planning.rowversions(&mut steps, session).await?;
    for wanted in &planning.tables {
        let table = &wanted.table;
        let grants = &planning.grants;
        let by_name = || grants.reads_all() || grants.on_table(table.object_id, "SELECT");
        let denied = planning.denials.on_table(table, wanted.captured, "SELECT");
        // What it may do says nothing about what was granted, where it is denied.
        let rights = wanted.rights.filter(|_| denied.is_empty());
        let has = rights.map_or_else(by_name, |rights| rights.select);
        let grant = grants::grant("SELECT", &sql::table(&table.name), agent.name());
        steps.right(has, grant);
        steps.denied(denied);
    }
    Ok(steps.plan(&planning.asked.database.name))
}

fn user(steps: &mut Steps, agent: &Agent) {
    let user = name(agent.name());
    let add = |steps: &mut Steps| {
        steps.add(
            format!("CREATE USER {user} FOR LOGIN {user}"),
            format!("DROP USER {user}"),
        );
    };
    match agent {
        Agent::User(_) => {}
        Agent::Login(_) => add(steps),
        Agent::Nobody(login) => {
            // A password is for a person to choose: not a statement to run as it stands.
            steps.note(&super::create(login));
            steps.undo_note(&format!("DROP LOGIN {user}"));
            add(steps);
        }
    }
}

impl<'a> Planning<'a> {
    async fn wanted(
        &self,
        session: &mut Session,
        captured: &'a CapturedTable,
    ) -> Result<Wanted<'a>, SourceError> {
        let found = catalogue::find(session, &captured.table).await?;
        let Some(table) = found else {
            let all = catalogue::names(session).await?;
            let correct = match has::nearest(&captured.table, &all) {
                Some(meant) => format!("write {meant} in the mapping, if that is meant"),
                None => "correct the table's name in the mapping".to_owned(),
            };
            return Err(SourceError::SchemaChanged {
                what: format!(
                    "prepare: table {} does not exist, or may not be seen by this user",
                    captured.table
                ),
                hint: format!(
                    "{correct}, or take an administrator: lighterman source prepare --user NAME"
                ),
            });
        };
        if table.name != captured.table {
            return Err(SourceError::SchemaChanged {
                what: format!(
                    "prepare: table {} is called {} in the database",
                    captured.table, table.name
                ),
                hint: format!("write it as {} in the mapping", table.name),
            });
        }
        let has = self.asked.has(session, &table).await?;
        let (mode, is_second) = self.mode(&table, &has)?;
        let rights = if self.own {
            Some(probe::table_rights(session, &table.name).await?)
        } else {
            None
        };
        Ok(Wanted {
            captured,
            table,
            mode,
            is_second,
            rights,
        })
    }

    /// The mode that is prepared for a table: the one that a person chose, one that is there, one of a kind
    /// that is on for other tables already, and else the one that tells most.
    fn mode(&self, table: &Table, has: &Has) -> Result<(Mode, bool), SourceError> {
        let without = has.whole.without_cdc.as_ref().filter(|_| !has.whole.cdc);
        if let Some(mode) = self.settings.modes.get(&table.name).copied() {
            if let (Mode::Cdc | Mode::CdcFunction, Some(why)) = (mode, without) {
                return Err(denied(
                    format!(
                        "prepare: table {}: this server has no change data capture: {why}",
                        table.name
                    ),
                    format!(
                        "modes = {{ \"{}\" = \"tracking\" }} in the settings",
                        table.name
                    ),
                ));
            }
            return Ok((mode, false));
        }
        if let Some(mode) = mode::there_already(has) {
            return Ok((mode, false));
        }
        let keyed = has.key == has::Key::Usable;
        let captures = without.is_none() && self.agent_runs == Some(true);
        let mode = if has.whole.cdc {
            Mode::Cdc
        } else if has.whole.tracking && keyed {
            Mode::Tracking
        } else if captures {
            Mode::Cdc
        } else if keyed {
            Mode::Tracking
        } else if has.rowversion {
            Mode::Rowversion
        } else {
            Mode::Compare
        };
        Ok((mode, mode != Mode::Cdc && without.is_some()))
    }

    /// Tables of the settings that no mapping reads.
    fn names(&self, steps: &mut Steps, captured: &[CapturedTable]) {
        let read: Vec<TableName> = captured.iter().map(|one| one.table.clone()).collect();
        for (wrong, meant) in has::misnamed(self.settings.modes.keys(), &read) {
            let meant = meant.map_or(String::new(), |meant| {
                format!("; did you mean \"{meant}\"?")
            });
            steps.note(&format!(
                "modes in the settings names table {wrong}, which no mapping reads: it has no effect{meant}"
            ));
        }
    }

    /// Tables can be read as of one moment, and what is tracked together with its version.
    fn snapshots(&self, steps: &mut Steps) {
        // On its way on already: that statement waits for others.
        if matches!(self.asked.database.snapshot_state, 0 | 2) {
            let database = name(&self.asked.database.name);
            let set =
                |to: &str| format!("ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION {to}");
            steps.add(set("ON"), set("OFF"));
        }
    }

    /// An index is for a person to make: it takes room and time, and each write keeps it up.
    async fn rowversions(
        &self,
        steps: &mut Steps,
        session: &mut Session,
    ) -> Result<(), SourceError> {
        for wanted in &self.tables {
            let table = &wanted.table.name;
            let column = wanted.table.rowversion();
            let column = column.filter(|_| wanted.mode == Mode::Rowversion);
            let Some(column) = column else {
                continue;
            };
            if !catalogue::leads(session, table, &column.name).await? {
                let (create, undo) = catalogue::rowversion_index(table, &column.name);
                steps.note(&format!(
                    "{create}: a suggestion that is not run; without it all of {table} is read whenever a \
                     rowversion of the database has moved (undo: {undo})"
                ));
            }
        }
        Ok(())
    }
}
