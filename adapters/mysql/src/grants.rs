//! What the agent's user may do: no more than read the log, see its state, and read the captured
//! tables.

use contract::{SourceError, TableName};

use crate::connect::{self, Connection, Flavour};
use crate::server::Server;

/// A user of the server: a name, and the hosts it may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) host: String,
}

impl Account {
    /// As `CURRENT_USER()` has it: the host is behind the last `@`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (user, host) = text.rsplit_once('@')?;
        Some(Self {
            user: user.to_owned(),
            host: host.to_owned(),
        })
    }

    /// In SQL.
    pub(crate) fn sql(&self) -> String {
        format!(
            "{}@{}",
            connect::literal(&self.user),
            connect::literal(&self.host)
        )
    }
}

/// The rights on the server that we need, in the words of the server: to be given the log, and to
/// see its files and its end. MariaDB has a right of its own for the second since 10.5.2
/// (<https://mariadb.com/docs/server/reference/sql-statements/account-management-sql-statements/grant>).
pub(crate) fn on_server(server: &Server) -> [&'static str; 2] {
    match server.flavour {
        Flavour::MariaDb if server.numbers() >= (10, 5) => ["REPLICATION SLAVE", "BINLOG MONITOR"],
        _ => ["REPLICATION SLAVE", "REPLICATION CLIENT"],
    }
}

/// The rights of a user, as `SHOW GRANTS` lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// What is granted (in upper case) and on what, quoted as the server does: `*.*`.
    all: Vec<(Vec<String>, String)>,
}

impl Grants {
    /// Reads the rights of `account`, or of the connection's own user with its roles.
    pub(crate) async fn read(
        connection: &mut Connection,
        account: Option<&Account>,
    ) -> Result<Self, SourceError> {
        let sql = match account {
            None => own(connection).await?,
            Some(account) => format!("SHOW GRANTS FOR {}", account.sql()),
        };
        let lines: Vec<(String,)> = connection.rows("read rights", &sql).await?;
        Ok(Self {
            all: lines.iter().filter_map(|(line,)| of_line(line)).collect(),
        })
    }

    /// Whether a right on the server is among them.
    pub(crate) fn on_server(&self, right: &str) -> bool {
        // The same right has had several names.
        let names: &[&str] = match right {
            "REPLICATION SLAVE" => &["REPLICATION SLAVE", "REPLICATION REPLICA"],
            "BINLOG MONITOR" | "REPLICATION CLIENT" => &["BINLOG MONITOR", "REPLICATION CLIENT"],
            _ => &[],
        };
        self.has("*.*", |granted| {
            granted == right || names.contains(&granted)
        })
    }

    /// Whether rows of a table may be read.
    pub(crate) fn on_table(&self, table: &TableName) -> bool {
        let schema = connect::name(&table.schema);
        // On a schema, `_` and `%` stand for others unless they are escaped.
        let escaped = schema.replace('_', "\\_").replace('%', "\\%");
        let places = [
            "*.*".to_owned(),
            format!("{schema}.*"),
            format!("{escaped}.*"),
            connect::table(table),
        ];
        places
            .iter()
            .any(|place| self.has(place, |granted| granted == "SELECT"))
    }

    /// Whether exactly this was granted, and is not part of something larger.
    pub(crate) fn names(&self, right: &str, on: &str) -> bool {
        let exact = self.all.iter().filter(|(_, place)| place == on);
        let mut rights = exact.flat_map(|(rights, _)| rights);
        rights.any(|granted| granted == right)
    }

    fn has(&self, on: &str, fits: impl Fn(&str) -> bool) -> bool {
        let here = self.all.iter().filter(|(_, place)| place == on);
        let mut rights = here.flat_map(|(rights, _)| rights);
        rights.any(|granted| fits(granted) || granted.starts_with("ALL PRIVILEGES"))
    }
}

/// The statement that lists our own rights. MariaDB lists those of our roles too, MySQL does where the
/// roles are named (<https://dev.mysql.com/doc/refman/8.4/en/show-grants.html>).
async fn own(connection: &mut Connection) -> Result<String, SourceError> {
    let mut sql = "SHOW GRANTS".to_owned();
    if connection.flavour == Flavour::MySql {
        // Quoted already, as a list; NONE where there are none.
        let roles: Option<String> = connection
            .one("read our roles", "SELECT CURRENT_ROLE()")
            .await?;
        if let Some(roles) = roles.filter(|roles| roles.contains('`')) {
            sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
        }
    }
    Ok(sql)
}

/// `GRANT a, b ON c TO d ..`; `None` for a line that grants a role. A right on some columns of a table
/// has them in brackets, and is none of ours.
fn of_line(line: &str) -> Option<(Vec<String>, String)> {
    let (rights, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
    // Names are quoted, and may hold anything between their quotes.
    let mut quoted = false;
    let end = rest.char_indices().find(|(at, c)| {
        if *c == '`' {
            quoted = !quoted;
        }
        !quoted && rest.get(*at..).is_some_and(|rest| rest.starts_with(" TO "))
    });
    let place = rest.get(..end?.0)?;
    let place = place.strip_prefix("TABLE ").unwrap_or(place);
    let rights = rights.split(", ").map(str::to_ascii_uppercase);
    Some((rights.collect(), place.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants {
            all: lines.iter().filter_map(|line| of_line(line)).collect(),
        }
    }

    #[test]
    fn rights_are_read_as_the_server_lists_them() {
        let table = TableName::new("sh_op", "it`em");
        for (line, reads) in [
            ("GRANT SELECT ON `sh_op`.`it``em` TO `clerk`@`%`", true),
            ("GRANT INSERT, SELECT ON `sh\\_op`.* TO `clerk`@`%`", true),
            ("GRANT SELECT ON `sh_op`.* TO `clerk`@`%`", true),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `clerk`@`%` WITH GRANT OPTION",
                true,
            ),
            (
                "GRANT SELECT (`a`) ON `sh_op`.`it``em` TO `clerk`@`%`",
                false,
            ),
            ("GRANT SELECT ON `sh_op`.`other` TO `clerk`@`%`", false),
            ("GRANT `SELECT ON *.* TO ` TO `clerk`@`%`", false),
        ] {
            assert_eq!(grants(&[line]).on_table(&table), reads, "{line}");
        }
        let own = grants(&[
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `clerk`@`%` IDENTIFIED BY PASSWORD '*D'",
        ]);
        assert!(own.on_server("REPLICATION SLAVE") && own.on_server("REPLICATION CLIENT"));
        assert!(!grants(&["GRANT USAGE ON *.* TO `a`@`b`"]).on_server("REPLICATION SLAVE"));
    }

    #[test]
    fn an_account_has_its_host_behind_the_last_at() {
        let account = Account::parse("a@b@10.0.0.%").unwrap();
        assert_eq!(account.sql(), "'a@b'@'10.0.0.%'");
        assert_eq!(Account::parse("nobody"), None);
    }
}
