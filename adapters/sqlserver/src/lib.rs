//! Source: SQL Server, captured through change data capture, change tracking, rowversion columns or by
//! reading a table again and comparing it, as each table allows.
//!
//! It reads with ordinary queries and writes nothing to the database.

/// The `type` in the settings.
pub const NAME: &str = "sqlserver";
