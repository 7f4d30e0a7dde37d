//! What a test can choose, above all where a server's behaviour is not known for sure.

use crate::statements::moments::DAY;

/// How an update of a key stands in the change table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// As before and after (operations 3 and 4).
    Pair,
    /// As DELETE and INSERT when the command changed several rows, else as before and after.
    DeferredIfSeveral,
    /// As DELETE and INSERT, of all rows of the command before any.
    Deferred,
    /// As DELETE and INSERT, row by row, though the next row may still have the key.
    RowByRow,
}

impl KeyChange {
    pub(crate) fn is_deferred(self, several: bool) -> bool {
        match self {
            Self::Pair => false,
            Self::DeferredIfSeveral => several,
            Self::Deferred | Self::RowByRow => true,
        }
    }
}

/// Choices of the model. Where a server's behaviour is unknown or only remembered, both ways can be had, so
/// that what is tested works under both.
#[derive(Clone, Debug)]
pub struct Options {
    /// Unknown: whether a `(max)` column that an update left alone has its value in operation 4.
    pub long_untouched_kept: bool,
    /// Unknown: whether an update of columns that are not captured gives rows, with an empty mask.
    pub capture_untouched: bool,
    /// Unknown for every form of update: how a change of a unique key is told.
    pub key_change: KeyChange,
    /// Unknown: whether a snapshot transaction notices a clean-up of Change Tracking that ran after it
    /// began, in its rows and in CHANGE_TRACKING_MIN_VALID_VERSION.
    pub cleanup_shows_in_snapshots: bool,
    /// Unknown: whether TRUNCATE of a tracked table counts as a version of its own. If it does not, a
    /// client whose version is the current one passes the check of the minimal valid version.
    pub truncate_is_a_version: bool,
    /// Unknown: whether ENABLE CHANGE_TRACKING counts as a version of its own, as above.
    pub enable_is_a_version: bool,
    /// Whether all rows that a transaction writes have one rowversion, as those of a table may that was made with
    /// `SELECT .. INTO`.
    pub one_rowversion: bool,
    /// Whether a reader without row versioning stops at rows that an open transaction changed. A server's
    /// reader waits; here the lock time-out (1222) passes at once.
    pub readers_block: bool,
    /// Whether the capture job runs with each commit. Else it runs when the test says so.
    pub capture_at_once: bool,
    /// How far a commit moves the clock, in 100 nanoseconds.
    pub commit_ticks: i64,
    /// The engine edition: 2 standard, 3 enterprise, 4 express, 5 Azure SQL database.
    pub engine_edition: i32,
    /// `SERVERPROPERTY('Edition')`
    pub edition: String,
    /// `SERVERPROPERTY('ProductVersion')`
    pub version: String,
    /// Whether the agent's service runs.
    pub agent_running: bool,
    /// What the agent's service is called, which is another name in other languages of the server.
    pub agent_service: String,
    /// Whether change tables have the column `__$command_id`, which older builds do not.
    pub command_id: bool,
    /// Whether the database is published for replication: its log reader captures, and no capture job is made.
    pub published: bool,
    /// Whether logins see databases in the server's list (VIEW ANY DATABASE, which all have by default).
    pub databases_shown: bool,
    /// The recovery model: 1 full, 2 bulk-logged, 3 simple.
    pub recovery_model: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            long_untouched_kept: false,
            capture_untouched: false,
            key_change: KeyChange::DeferredIfSeveral,
            cleanup_shows_in_snapshots: false,
            truncate_is_a_version: true,
            enable_is_a_version: true,
            one_rowversion: false,
            readers_block: false,
            capture_at_once: false,
            commit_ticks: DAY / 86_400_000,
            engine_edition: 3,
            edition: "Developer Edition (64-bit)".to_owned(),
            version: "16.0.4135.4".to_owned(),
            agent_running: true,
            agent_service: "SQL Server Agent (MSSQLSERVER)".to_owned(),
            command_id: true,
            published: false,
            databases_shown: true,
            recovery_model: 1,
        }
    }
}
