//! What must be done at the database: the agent's rights, and what captures or tracks changes.

use contract::{CapturedTable, Login, Preparation, Secret, SourceError, TableName};

use crate::catalogue::{self, CDC, Table};
use crate::connect::{self, Rights};
use crate::errors::{PREPARE, denied};
use crate::grants::{self, Agent, Grants};
use crate::probe::{self, Captured, Database, Engine, Known, OwnRights, TableRights, Tracking};
use crate::session::Session;
use crate::settings::{Auth, Mode, Settings};
use crate::sql::{self, literal, name};

/// Minutes for which changes are kept at least, and what they are set to where it is less.
const RETENTION_MIN_MINUTES: i64 = 4 * 24 * 60;
const RETENTION_MINUTES: i64 = 7 * 24 * 60;
/// The same for change tracking.
const RETENTION: &str = "7 DAYS";
/// The longest name of a capture instance.
const INSTANCE_MAX: usize = 100;
/// A table has at most so many.
const INSTANCES_MAX: usize = 2;

/// Says what is to be done, and does it with `apply`; as `login` where one is given, for the user that the
/// settings name.
pub(crate) async fn prepare(
    settings: &Settings,
    captured: &[CapturedTable],
    login: Option<&Login>,
    apply: bool,
) -> Result<Preparation, SourceError> {
    let by = match login {
        None => settings.clone(),
        Some(login) => Settings {
            auth: Auth::Sql {
                user: login.user.clone(),
                password: login.password.clone().unwrap_or_else(|| Secret::new("")),
            },
            ..settings.clone()
        },
    };
    let rights = if apply { Rights::Write } else { Rights::Read };
    let mut session = connect::connect(&by, rights)
        .await
        .map_err(|error| no_entry(error, settings, login))?;
    let agent = match (login, settings.auth.user()) {
        (None, _) => Agent::own(&mut session).await?,
        (Some(_), Some(user)) => Agent::of_login(&mut session, user).await?,
        (Some(_), None) => return Err(grants::unnamed()),
    };
    let own = login.is_none();
    let mut plan = plan(settings, captured, &agent, own, &mut session).await?;
    if !apply {
        return Ok(plan);
    }
    if let Agent::Nobody(user) = &agent {
        return Err(denied(
            format!("prepare: login {user} does not exist"),
            format!(
                "{}, with the password that the settings name; undo: DROP LOGIN {}; then {PREPARE}",
                create(user),
                name(user)
            ),
        ));
    }
    for sql in statements(&plan.sql) {
        run(&mut session, sql, login).await?;
    }
    // What the server took and did not do is said.
    let agent = Agent::User(agent.name().to_owned());
    let left = self::plan(settings, captured, &agent, own, &mut session).await?;
    if let Some(first) = statements(&left.sql).next() {
        return Err(denied(
            format!("prepare: the server took this and did not do it: {first}"),
            format!("run it as an administrator: {first}"),
        ));
    }
    plan.applied = true;
    Ok(plan)
}

/// Those lines of a plan that are run.
fn statements(sql: &[String]) -> impl Iterator<Item = &String> {
    sql.iter().filter(|sql| !sql.starts_with("--"))
}

async fn run(session: &mut Session, sql: &str, login: Option<&Login>) -> Result<(), SourceError> {
    match session.run(&format!("prepare: {sql}"), sql).await {
        Ok(()) => Ok(()),
        // The server's own words are about the statement, which holds no row.
        Err(failed) if failed.number.is_some() && session.is_usable() => Err(denied(
            failed.error.to_string(),
            if login.is_some() {
                format!("run it as a user who may (sysadmin turns change data capture on): {sql}")
            } else {
                format!(
                    "lighterman source prepare --user NAME, as an administrator of the server; or run it as \
                     one: {sql}"
                )
            },
        )),
        Err(failed) => Err(failed.error),
    }
}

fn create(user: &str) -> String {
    format!("CREATE LOGIN {} WITH PASSWORD = 'choose one'", name(user))
}

/// Who cannot log in yet is told how the login is made.
fn no_entry(error: SourceError, settings: &Settings, login: Option<&Login>) -> SourceError {
    let SourceError::Denied { what, hint } = error else {
        return error;
    };
    if !what.contains("(error 18456") && !what.contains("(error 4060") {
        return SourceError::Denied { what, hint };
    }
    if login.is_some() {
        return denied(
            what,
            "see that LIGHTERMAN_PREPARE_PASSWORD has this login's password, and that it may open the database",
        );
    }
    let made = match settings.auth.user() {
        Some(user) => format!("{} makes it", create(user)),
        None => "an administrator makes it".to_owned(),
    };
    denied(
        what,
        format!(
            "{hint}; if there is no such login, {made}, and lighterman source prepare --user NAME, as an \
             administrator of the server, says the rest"
        ),
    )
}

/// What a plan is made from.
struct There<'a> {
    settings: &'a Settings,
    engine: Engine,
    database: Database,
    captured: Vec<Captured>,
    /// Also those whose instances may not be seen.
    captured_tables: Vec<i64>,
    tracking: Option<Tracking>,
    tracked: Vec<i64>,
    /// Change data capture would capture: Azure by itself, else by an agent that runs.
    captures: bool,
    /// The agent is there, and does not run.
    stopped: bool,
}

impl<'a> There<'a> {
    async fn read(settings: &'a Settings, session: &mut Session) -> Result<Self, SourceError> {
        let engine = Engine::read(session).await?;
        let database = Database::read(session).await?;
        let (mut captured, mut captured_tables) = (Vec::new(), Vec::new());
        if database.cdc {
            match probe::captured(session).await? {
                Known::Is(all) => {
                    captured_tables = all.iter().map(|one| one.object_id).collect();
                    captured = all;
                }
                Known::Unknown(_) => captured_tables = probe::captured_tables(session).await?,
            }
        }
        let tracking = probe::tracking(session).await?.known().cloned().flatten();
        let tracked = match &tracking {
            Some(_) => probe::tracked(session).await?.known().cloned(),
            None => None,
        };
        let runs = if engine.needs_agent() {
            probe::agent(session).await?.known().copied().flatten()
        } else {
            Some(true)
        };
        Ok(Self {
            settings,
            database,
            captured,
            captured_tables,
            tracking,
            tracked: tracked.unwrap_or_default(),
            captures: !engine.is_express() && runs == Some(true),
            stopped: runs == Some(false),
            engine,
        })
    }

    /// The mode that is prepared for a table: the one that a person chose, one that is there, one of a kind
    /// that is on for other tables already, and else the one that tells most.
    fn mode(&self, table: &Table) -> Mode {
        if let Some(mode) = self.settings.modes.get(&table.name) {
            return *mode;
        }
        if self.captured_tables.contains(&table.object_id) {
            return Mode::Cdc;
        }
        if self.tracked.contains(&table.object_id) {
            return Mode::Tracking;
        }
        let keyed = table.primary().is_some();
        if self.database.cdc && !self.engine.is_express() {
            Mode::Cdc
        } else if self.tracking.is_some() && keyed {
            Mode::Tracking
        } else if self.captures {
            Mode::Cdc
        } else if keyed {
            Mode::Tracking
        } else if table.rowversion().is_some() {
            Mode::Rowversion
        } else {
            Mode::Compare
        }
    }

    /// A name for a capture instance that nobody has.
    fn instance(&self, table: &Table) -> String {
        let TableName { schema, name } = &table.name;
        let plain = format!("{schema}_{name}");
        let short = format!("lighterman_{}", table.object_id);
        let taken = |name: &String| self.captured.iter().any(|one| one.instance == *name);
        let candidates = [
            plain.clone(),
            format!("{plain}_2"),
            short.clone(),
            format!("{short}_2"),
        ];
        let mut fitting = candidates
            .into_iter()
            .filter(|name| name.chars().count() <= INSTANCE_MAX && !taken(name));
        fitting.next().unwrap_or(short)
    }
}

/// Statements and what takes them back.
#[derive(Default)]
struct Steps {
    sql: Vec<String>,
    undo: Vec<String>,
}

impl Steps {
    fn add(&mut self, sql: String, undo: String) {
        self.sql.push(sql);
        self.undo.push(undo);
    }

    fn note(&mut self, note: &str) {
        self.sql.push(format!("-- {note}"));
    }

    /// A right of the agent's: given where it has not, taken back where it has it by name.
    fn right(&mut self, has: bool, granted: bool, (sql, undo): (String, String)) {
        if !has {
            self.sql.push(sql);
        }
        if !has || granted {
            self.undo.push(undo);
        }
    }
}

async fn plan(
    settings: &Settings,
    captured: &[CapturedTable],
    agent: &Agent,
    own: bool,
    session: &mut Session,
) -> Result<Preparation, SourceError> {
    let there = There::read(settings, session).await?;
    let grants = Grants::read(session, agent).await?;
    let mut steps = Steps::default();
    user(&mut steps, agent);
    if !there.database.writable {
        return Err(denied(
            format!(
                "prepare: database {} can only be read here",
                there.database.name
            ),
            "set host to the primary, without read_only_intent",
        ));
    }
    let mut tables = Vec::new();
    for wanted in captured {
        let Some(table) = catalogue::find(session, &wanted.table).await? else {
            return Err(SourceError::SchemaChanged {
                what: format!(
                    "prepare: table {} does not exist, or may not be seen by this user",
                    wanted.table
                ),
                hint: "correct the table's name in the mapping, or take an administrator: lighterman source \
                       prepare --user NAME"
                    .to_owned(),
            });
        };
        let mode = there.mode(&table);
        // What we may ourselves, whichever role it comes from.
        let rights = if own {
            Some(probe::table_rights(session, &table.name).await?)
        } else {
            None
        };
        tables.push(Wanted {
            captured: wanted,
            table,
            mode,
            rights,
        });
    }
    let own_rights = if own {
        Some(probe::own_rights(session).await?)
    } else {
        None
    };
    snapshots(&mut steps, &there);
    let planning = Planning {
        there: &there,
        tables: &tables,
        grants: &grants,
        agent: agent.name(),
        own: own_rights,
    };
    planning.cdc(&mut steps, session).await?;
    planning.tracking(&mut steps);
    for wanted in &tables {
        let table = &wanted.table;
        let by_name = grants.on_table(table.object_id, "SELECT");
        let has = match wanted.rights {
            Some(rights) => rights.select,
            None => grants.reads_all() || by_name,
        };
        let grant = grants::grant("SELECT", &sql::table(&table.name), agent.name());
        steps.right(has, by_name, grant);
    }
    steps.undo.reverse();
    Ok(Preparation {
        sql: steps.sql,
        undo: steps.undo,
        applied: false,
    })
}

fn user(steps: &mut Steps, agent: &Agent) {
    let user = name(agent.name());
    match agent {
        Agent::User(_) => {}
        Agent::Login(_) => steps.add(
            format!("CREATE USER {user} FOR LOGIN {user}"),
            format!("DROP USER {user}"),
        ),
        Agent::Nobody(login) => {
            // A password is for a person to choose: not a statement to run as it stands.
            steps.note(&create(login));
            steps.undo.push(format!("DROP LOGIN {user}"));
            steps.add(
                format!("CREATE USER {user} FOR LOGIN {user}"),
                format!("DROP USER {user}"),
            );
        }
    }
}

/// Tables can be read as of one moment, and what is tracked together with its version.
fn snapshots(steps: &mut Steps, there: &There<'_>) {
    // On its way on already: that statement waits for others.
    if matches!(there.database.snapshot_state, 0 | 2) {
        let database = name(&there.database.name);
        let set = |to: &str| format!("ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION {to}");
        steps.add(set("ON"), set("OFF"));
    }
}

/// A table that the mappings ask for.
struct Wanted<'a> {
    captured: &'a CapturedTable,
    table: Table,
    mode: Mode,
    /// Our own rights on it.
    rights: Option<TableRights>,
}

impl Wanted<'_> {
    fn is_cdc(&self) -> bool {
        matches!(self.mode, Mode::Cdc | Mode::CdcFunction)
    }
}

struct Planning<'a> {
    there: &'a There<'a>,
    tables: &'a [Wanted<'a>],
    grants: &'a Grants,
    agent: &'a str,
    /// Our own rights.
    own: Option<OwnRights>,
}

impl Planning<'_> {
    async fn cdc(&self, steps: &mut Steps, session: &mut Session) -> Result<(), SourceError> {
        let there = self.there;
        if !self.tables.iter().any(Wanted::is_cdc) {
            return Ok(());
        }
        if !there.database.cdc {
            steps.add(
                "EXEC sys.sp_cdc_enable_db".to_owned(),
                "EXEC sys.sp_cdc_disable_db".to_owned(),
            );
        }
        if there.stopped {
            steps.note("start the service SQL Server Agent: without it nothing is captured");
        }
        let mut enables = false;
        for wanted in self.tables.iter().filter(|wanted| wanted.is_cdc()) {
            enables |= instance(steps, there, wanted.captured, &wanted.table);
        }
        retention(steps, there, enables, session).await?;
        let schema = grants::schema_id(session, CDC).await?;
        let by_name = schema.is_some_and(|id| self.grants.on_schema(id));
        let has = match self.own {
            Some(own) => own.cdc,
            None => self.grants.is_owner() || by_name,
        };
        let grant = grants::grant("SELECT", "SCHEMA::cdc", self.agent);
        steps.right(has, by_name, grant);
        Ok(())
    }

    fn tracking(&self, steps: &mut Steps) {
        let tables: Vec<&Wanted<'_>> = self
            .tables
            .iter()
            .filter(|wanted| wanted.mode == Mode::Tracking)
            .collect();
        if tables.is_empty() {
            return;
        }
        let database = name(&self.there.database.name);
        match &self.there.tracking {
            None => steps.add(
                format!(
                    "ALTER DATABASE {database} SET CHANGE_TRACKING = ON (CHANGE_RETENTION = {RETENTION}, \
                     AUTO_CLEANUP = ON)"
                ),
                format!("ALTER DATABASE {database} SET CHANGE_TRACKING = OFF"),
            ),
            Some(now) if now.minutes() < RETENTION_MIN_MINUTES => {
                let set = |retention: &str| {
                    format!("ALTER DATABASE {database} SET CHANGE_TRACKING (CHANGE_RETENTION = {retention})")
                };
                let before = format!("{} {}", now.retention, now.units);
                steps.add(set(RETENTION), set(&before));
            }
            Some(_) => {}
        }
        for Wanted { table, rights, .. } in tables {
            let on = sql::table(&table.name);
            if table.primary().is_none() {
                steps.note(&format!(
                    "{} has no primary key, without which changes cannot be tracked",
                    table.name
                ));
                continue;
            }
            if !self.there.tracked.contains(&table.object_id) {
                steps.add(
                    format!("ALTER TABLE {on} ENABLE CHANGE_TRACKING"),
                    format!("ALTER TABLE {on} DISABLE CHANGE_TRACKING"),
                );
            }
            let by_name = self
                .grants
                .on_table(table.object_id, "VIEW CHANGE TRACKING");
            let has = match rights {
                Some(rights) => rights.tracking,
                None => self.grants.is_owner() || by_name,
            };
            let grant = grants::grant("VIEW CHANGE TRACKING", &on, self.agent);
            steps.right(has, by_name, grant);
        }
    }
}

/// A capture instance with all columns that the mapping reads; whether one is made.
fn instance(steps: &mut Steps, there: &There<'_>, captured: &CapturedTable, table: &Table) -> bool {
    let own: Vec<&Captured> = there
        .captured
        .iter()
        .filter(|one| one.object_id == table.object_id)
        .collect();
    if let Some(newest) = own.last() {
        let mut read = captured.columns.iter().chain(&captured.key);
        let lacks =
            |column: &&String| table.column(column).is_some() && !newest.columns.contains(column);
        let Some(missing) = read.find(lacks) else {
            return false;
        };
        if own.len() >= INSTANCES_MAX {
            steps.note(&format!(
                "{} has two capture instances, and the newer one, {}, lacks column {missing}: drop the older one \
                 once it is told, then prepare again",
                table.name, newest.instance
            ));
            return false;
        }
    } else if there.captured_tables.contains(&table.object_id) {
        return false;
    }
    let of = format!(
        "@source_schema = {}, @source_name = {}, @capture_instance = {}",
        literal(&table.name.schema),
        literal(&table.name.name),
        literal(&there.instance(table))
    );
    steps.add(
        format!("EXEC sys.sp_cdc_enable_table {of}, @role_name = NULL, @supports_net_changes = 0"),
        format!("EXEC sys.sp_cdc_disable_table {of}"),
    );
    true
}

/// For how long changes are kept. The job that cleans up is made with the first instance.
async fn retention(
    steps: &mut Steps,
    there: &There<'_>,
    enables: bool,
    session: &mut Session,
) -> Result<(), SourceError> {
    let set = |minutes: i64| {
        format!("EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {minutes}")
    };
    if !there.database.cdc {
        if enables {
            // It goes with the database's capture.
            steps.sql.push(set(RETENTION_MINUTES));
        }
        return Ok(());
    }
    let jobs = probe::jobs(session).await?;
    let cleanup = jobs
        .known()
        .and_then(|jobs| jobs.iter().find(|job| job.kind == "cleanup"));
    if let Some(job) = cleanup.filter(|job| job.retention < RETENTION_MIN_MINUTES) {
        steps.add(set(RETENTION_MINUTES), set(job.retention));
    }
    Ok(())
}
