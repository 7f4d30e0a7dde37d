//! What must be done at the database: the agent's rights, and what the log tells.

use contract::{CapturedTable, Login, Preparation, SourceError};

use crate::catalogue::Table;
use crate::connect::{self, Connection, Flavour, PREPARE, Rights};
use crate::grants::{self, Account, Grants};
use crate::server::Server;
use crate::settings::Settings;

/// What the log must be set to, so that it tells whole rows by their names.
pub(crate) const TELLING: &[(&str, &str)] = &[
    ("binlog_format", "ROW"),
    ("binlog_row_image", "FULL"),
    ("binlog_row_metadata", "FULL"),
];

/// Says what is to be done, and does it with `apply`; as `login` where one is given, for the user
/// that the settings name.
pub(crate) async fn prepare(
    settings: &Settings,
    captured: &[CapturedTable],
    login: Option<&Login>,
    apply: bool,
) -> Result<Preparation, SourceError> {
    let by = match login {
        None => settings.clone(),
        Some(login) => Settings {
            user: login.user.clone(),
            password: login.password.clone(),
            ..settings.clone()
        },
    };
    let rights = if apply { Rights::Write } else { Rights::Read };
    let mut connection = connect::connect(&by, rights)
        .await
        .map_err(|error| no_entry(error, settings, login))?;
    let account = account(settings, login.is_some(), &mut connection)
        .await
        .map_err(|error| not_enough(error, login))?;
    let mut plan = plan(
        settings,
        captured,
        account.as_ref(),
        login.is_some(),
        &mut connection,
    )
    .await
    .map_err(|error| not_enough(error, login))?;
    if !apply {
        connection.close();
        return Ok(plan);
    }
    if account.is_none() {
        return Err(SourceError::Denied {
            what: format!("prepare: user {} does not exist", settings.user),
            hint: format!(
                "{}, with the password that the settings name; undo: {}; then {PREPARE}",
                create(settings),
                drop(settings)
            ),
        });
    }
    for sql in statements(&plan.sql) {
        run(&mut connection, sql, login).await?;
    }
    // Some rights are given in silence to nobody; what is left is said.
    let left = self::plan(
        settings,
        captured,
        account.as_ref(),
        login.is_some(),
        &mut connection,
    )
    .await?;
    connection.close();
    if let Some(first) = statements(&left.sql).next() {
        return Err(SourceError::Denied {
            what: format!("prepare: the server took this and did not do it: {first}"),
            hint: format!("run it as an administrator: {first}"),
        });
    }
    plan.applied = true;
    Ok(plan)
}

/// Those lines of a plan that are run.
fn statements(sql: &[String]) -> impl Iterator<Item = &String> {
    sql.iter().filter(|sql| !sql.starts_with("--"))
}

async fn run(
    connection: &mut Connection,
    sql: &str,
    login: Option<&Login>,
) -> Result<(), SourceError> {
    match connection.run(&format!("prepare: {sql}"), sql).await {
        // Who is asked for a grant and may not give it gets any of these.
        Err(SourceError::Denied { what, .. }) => Err(SourceError::Denied {
            what,
            hint: if login.is_some() {
                format!("run it as a user who may: {sql}")
            } else {
                format!(
                    "lighterman source prepare --user NAME, as an administrator of the server; or \
                     run it as one: {sql}"
                )
            },
        }),
        other => other,
    }
}

/// Who cannot log in yet is told how the user is made.
fn no_entry(error: SourceError, settings: &Settings, login: Option<&Login>) -> SourceError {
    match error {
        SourceError::Denied { what, hint } if login.is_none() && what.contains("(error 1045)") => {
            SourceError::Denied {
                what,
                hint: format!(
                    "{hint}; if there is no such user, {} makes it, and lighterman source prepare \
                     --user NAME, as an administrator of the server, says the rest",
                    create(settings)
                ),
            }
        }
        SourceError::Denied { what, .. } if what.contains("(error 1045)") => SourceError::Denied {
            what,
            hint: "see that LIGHTERMAN_PREPARE_PASSWORD has this user's password, and for which hosts \
                   and with what TLS the user is made: SHOW CREATE USER '<user>'@'<host>'"
                .to_owned(),
        },
        other => other,
    }
}

/// Who prepares for another user must see that user's rights.
fn not_enough(error: SourceError, login: Option<&Login>) -> SourceError {
    match (error, login) {
        (SourceError::Denied { what, .. }, Some(login)) => SourceError::Denied {
            what: format!("prepare as {}: {what}", login.user),
            hint: "take an administrator: who may GRANT these rights and SELECT on mysql.*"
                .to_owned(),
        },
        (error, _) => error,
    }
}

fn anywhere(settings: &Settings) -> Account {
    Account {
        user: settings.user.clone(),
        host: "%".to_owned(),
    }
}

fn create(settings: &Settings) -> String {
    let account = anywhere(settings).sql();
    format!("CREATE USER {account} IDENTIFIED BY 'choose one'")
}

fn drop(settings: &Settings) -> String {
    format!("DROP USER {}", anywhere(settings).sql())
}

/// The account that the agent is at the server; `None` = there is none.
async fn account(
    settings: &Settings,
    other: bool,
    connection: &mut Connection,
) -> Result<Option<Account>, SourceError> {
    let doing = "find the agent's user";
    let sql = "SELECT CURRENT_USER()";
    let of = |text: String| {
        Account::parse(&text)
            .ok_or_else(|| SourceError::Malformed(format!("{doing}: the server names none")))
    };
    if !other {
        return of(connection.one(doing, sql).await?).map(Some);
    }
    // The server itself says best which one it takes us for.
    if let Ok(mut agent) = connect::connect(settings, Rights::Read).await {
        let text = agent.one(doing, sql).await;
        agent.close();
        // A user nobody has made may be let in as one without a name.
        let account = of(text?)?;
        if account.user == settings.user {
            return Ok(Some(account));
        }
    }
    let sql = format!(
        "SELECT Host FROM mysql.user WHERE User = {} ORDER BY Host",
        connect::literal(&settings.user)
    );
    let hosts: Vec<(String,)> = connection.rows(doing, &sql).await?;
    let mut hosts = hosts.into_iter().map(|(host,)| host);
    let first = hosts.next();
    let rest: Vec<String> = hosts.collect();
    if let (Some(first), false) = (&first, rest.is_empty()) {
        return Err(SourceError::Denied {
            what: format!(
                "prepare: there are several users {}, for the hosts {first}, {}, and none lets us in \
                 with the settings' password",
                settings.user,
                rest.join(", ")
            ),
            hint: "set the password in the settings, or drop those that are not needed".to_owned(),
        });
    }
    Ok(first.map(|host| Account {
        user: settings.user.clone(),
        host,
    }))
}

async fn plan(
    settings: &Settings,
    captured: &[CapturedTable],
    account: Option<&Account>,
    other: bool,
    connection: &mut Connection,
) -> Result<Preparation, SourceError> {
    let server = Server::read(connection).await?;
    let (mut sql, mut undo) = (Vec::new(), Vec::new());
    let grants = match account {
        // What is a user's own comes with its roles.
        Some(_) if !other => Grants::read(connection, None).await?,
        Some(account) => Grants::read(connection, Some(account)).await?,
        None => Grants::default(),
    };
    if account.is_none() {
        // A password is for a person to choose: not a statement to run as it stands.
        sql.push(format!("-- {}", create(settings)));
        undo.push(drop(settings));
    }
    let agent = account.cloned().unwrap_or_else(|| anywhere(settings)).sql();
    let mut right = |has: bool, granted: bool, what: String| {
        if !has {
            sql.push(format!("GRANT {what} TO {agent}"));
        }
        if !has || granted {
            undo.push(format!("REVOKE {what} FROM {agent}"));
        }
    };
    for name in grants::on_server(&server) {
        right(
            grants.on_server(name),
            grants.names(name, "*.*"),
            format!("{name} ON *.*"),
        );
    }
    for wanted in captured {
        let table = connect::table(&wanted.table);
        right(
            grants.on_table(&wanted.table),
            grants.names("SELECT", &table),
            format!("SELECT ON {table}"),
        );
    }
    for wanted in captured {
        // Without a right on it a table is not to be seen: only who may see all can miss one.
        let sees = grants.on_table(&wanted.table) || other;
        if sees && Table::read(connection, &wanted.table).await?.is_none() {
            return Err(SourceError::SchemaChanged {
                what: format!("prepare: table {} does not exist", wanted.table),
                hint: "correct the table's name in the mapping".to_owned(),
            });
        }
    }
    for (name, value) in TELLING {
        let Some(now) = server.get(name) else {
            continue;
        };
        if !now.eq_ignore_ascii_case(value) {
            let (set, reset) = set(&server, name, value, now);
            sql.extend(set);
            undo.push(reset);
        }
    }
    if !server.is_on("log_bin") {
        sql.push(
            "-- in the server's configuration, then restart it: log_bin = binlog, server_id = 1 or \
             another number that no other server of yours has"
                .to_owned(),
        );
    }
    undo.reverse();
    Ok(Preparation {
        sql,
        undo,
        applied: false,
    })
}

/// Statements that set a variable for all new sessions, now and after a restart, and the undo.
pub(crate) fn set(server: &Server, name: &str, value: &str, now: &str) -> (Vec<String>, String) {
    match server.flavour {
        Flavour::MySql => (
            vec![format!("SET PERSIST {name} = '{value}'")],
            format!("SET PERSIST {name} = '{now}'"),
        ),
        // It has no statement that outlives a restart.
        Flavour::MariaDb => (
            vec![
                format!("SET GLOBAL {name} = '{value}'"),
                format!(
                    "-- and in the server's configuration, for after its restart: {name} = {value}"
                ),
            ],
            format!("SET GLOBAL {name} = '{now}'"),
        ),
    }
}
