//! Source: PostgreSQL through logical replication.
