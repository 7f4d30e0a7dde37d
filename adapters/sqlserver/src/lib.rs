//! Source: SQL Server, captured through change data capture, change tracking, rowversion columns or by
//! reading a table again and comparing it, as each table allows.
//!
//! It reads with ordinary queries and writes nothing to the database.

mod browser;
mod catalogue;
mod column;
mod connect;
mod describe;
mod errors;
mod prelogin;
mod probe;
mod row;
mod session;
mod settings;
mod sql;
mod tls;
mod values;

/// The `type` in the settings.
pub const NAME: &str = "sqlserver";
