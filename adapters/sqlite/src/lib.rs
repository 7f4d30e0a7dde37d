//! Source: SQLite through a change log filled by triggers.
