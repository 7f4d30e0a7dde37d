//! What the agent's role may do: no more than replicate, connect, and read the captured tables.

use contract::SourceError;
use tokio_postgres::Client;

use crate::catalogue::Table;
use crate::connect::{self, classify};

/// The rights of the agent's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grants {
    role: String,
    database: String,
    /// `None` = there is no such role.
    known: Option<Role>,
    connect: Right,
    schemas: Vec<(String, Right)>,
    /// By the table's name in SQL.
    tables: Vec<(String, Right)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    replicates: bool,
    superuser: bool,
}

/// A right on something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Right {
    /// The role has it, from wherever.
    has: bool,
    /// It was granted to the role itself.
    granted: bool,
}

impl Grants {
    /// Reads the rights of `role` on `tables`.
    pub(crate) async fn read(
        client: &Client,
        role: &str,
        tables: &[Table],
    ) -> Result<Self, SourceError> {
        let failed = |error| classify(&format!("read rights of role \"{role}\""), &error);
        let row = client
            .query_one(
                "SELECT pg_catalog.current_database()::pg_catalog.text, r.oid,
                        r.rolsuper OR r.rolreplication
                        OR EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members m
                                     JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                                    WHERE m.member = r.oid AND g.rolname = 'rds_replication'),
                        r.rolsuper,
                        pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT'),
                        EXISTS (SELECT 1 FROM pg_catalog.aclexplode(d.datacl) a
                                 WHERE a.grantee = r.oid AND a.privilege_type = 'CONNECT')
                   FROM pg_catalog.pg_database d
                   LEFT JOIN pg_catalog.pg_roles r ON r.rolname = $1
                  WHERE d.datname = pg_catalog.current_database()",
                &[&role],
            )
            .await
            .map_err(failed)?;
        let mut grants = Self {
            role: role.to_owned(),
            database: row.get(0),
            known: None,
            connect: Right::default(),
            schemas: Vec::new(),
            tables: Vec::new(),
        };
        let oid: Option<u32> = row.get(1);
        if oid.is_some() {
            grants.known = Some(Role {
                replicates: row.get(2),
                superuser: row.get(3),
            });
            grants.connect = Right {
                has: row.get(4),
                granted: row.get(5),
            };
        }
        for table in tables {
            let (mut on_schema, mut on_table) = (Right::default(), Right::default());
            if let Some(oid) = oid {
                let row = client
                    .query_one(
                        "SELECT pg_catalog.has_schema_privilege($1::pg_catalog.oid, n.oid, 'USAGE'),
                                EXISTS (SELECT 1 FROM pg_catalog.aclexplode(n.nspacl) a
                                         WHERE a.grantee = $1 AND n.nspowner <> $1
                                           AND a.privilege_type = 'USAGE'),
                                pg_catalog.has_table_privilege($1, c.oid, 'SELECT'),
                                EXISTS (SELECT 1 FROM pg_catalog.aclexplode(c.relacl) a
                                         WHERE a.grantee = $1 AND c.relowner <> $1
                                           AND a.privilege_type = 'SELECT')
                           FROM pg_catalog.pg_class c
                           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                          WHERE n.nspname = $2 AND c.relname = $3",
                        &[&oid, &table.name.schema, &table.name.name],
                    )
                    .await
                    .map_err(failed)?;
                on_schema = Right {
                    has: row.get(0),
                    granted: row.get(1),
                };
                on_table = Right {
                    has: row.get(2),
                    granted: row.get(3),
                };
            }
            let schema = connect::name(&table.name.schema);
            if !grants.schemas.iter().any(|(known, _)| *known == schema) {
                grants.schemas.push((schema, on_schema));
            }
            grants.tables.push((connect::table(&table.name), on_table));
        }
        Ok(grants)
    }

    /// The SQL that makes the role, with a password for a person to choose; `None` = it is there.
    pub(crate) fn create(&self) -> Option<String> {
        let role = connect::name(&self.role);
        self.known
            .is_none()
            .then(|| format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'choose one'"))
    }

    /// The SQL that grants what is missing, and the SQL that takes back what was granted or is to
    /// be, in reverse order.
    pub(crate) fn sql(&self) -> (Vec<String>, Vec<String>) {
        let role = connect::name(&self.role);
        let (mut sql, mut undo) = (Vec::new(), Vec::new());
        if self.known.is_some_and(|known| known.superuser) {
            return (sql, undo);
        }
        if self.create().is_some() {
            undo.push(format!("DROP ROLE {role}"));
        } else {
            // Made by a person, perhaps for other things as well.
            undo.push(format!(
                "-- the role stays; where it was made for this: DROP ROLE {role}"
            ));
        }
        if self.known.is_some_and(|known| !known.replicates) {
            sql.push(format!("ALTER ROLE {role} REPLICATION"));
            undo.push(format!("ALTER ROLE {role} NOREPLICATION"));
        }
        let mut right = |right: Right, what: String| {
            if !right.has {
                sql.push(format!("GRANT {what} TO {role}"));
            }
            if !right.has || right.granted {
                undo.push(format!("REVOKE {what} FROM {role}"));
            }
        };
        let database = connect::name(&self.database);
        right(self.connect, format!("CONNECT ON DATABASE {database}"));
        for (schema, on) in &self.schemas {
            right(*on, format!("USAGE ON SCHEMA {schema}"));
        }
        for (table, on) in &self.tables {
            right(*on, format!("SELECT ON {table}"));
        }
        undo.reverse();
        (sql, undo)
    }
}
