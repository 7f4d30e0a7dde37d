//! Every number that the agent shows to monitoring: its name, its labels, its meaning, and whether it
//! outlives a restart. This is the one place for them: `/metrics`, the table in
//! `docs/operating/metrics.md`, the alert rules and the dashboard are checked against it.
//!
//! A label's values come from the settings (names of sources and destinations) or from a closed list
//! (event types, outcomes, causes), so how many series there are does not grow with the data.

mod destination;
mod meters;
mod source;
mod together;

pub use destination::DestinationMeter;
pub use meters::{Labels, Meters};
pub use source::{LogLooked, SourceMeter};
pub use together::Batch;

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were within which bounds, with their sum and count.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where a number lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lives {
    /// In the state file: a restart goes on with it.
    State,
    /// In the process: a restart begins at zero.
    Process,
    /// Nowhere: it is looked up when it is asked for.
    Now,
}

impl Lives {
    /// In a word, for the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "kept",
            Self::Process => "from zero",
            Self::Now => "as it is",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its whole name.
    pub name: &'static str,
    /// What kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Where it lives.
    pub lives: Lives,
    /// What it means, a sentence without a final stop.
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    lives: Lives,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        labels,
        lives,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        labels,
        lives: Lives::Now,
        help,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram,
        labels,
        lives: Lives::Process,
        help,
    }
}

use Lives::{Process, State};

const SOURCE: &[&str] = &["source"];
const DESTINATION: &[&str] = &["destination"];
const SOURCE_TYPE: &[&str] = &["source", "event_type"];
const DESTINATION_TYPE: &[&str] = &["destination", "event_type"];
const HELD: &[&str] = &["by", "cause"];

macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(#[doc = "See its help text."] pub const $name: Metric = $metric;)*
        /// All of them, in the order of the table.
        pub const METRICS: &[Metric] = &[$($name),*];
    };
}

metrics! {
    // From the source's commit to the API's acknowledgement.
    UPDATE_LATENCY = histogram("lighterman_update_latency_seconds", DESTINATION_TYPE,
        "Time from the commit at the source to the destination's acknowledgement, of changes as they \
         happen; first loads and replays are not in it");
    SLA_DELIVERIES = counter("lighterman_sla_deliveries_total", Process,
        &["destination", "event_type", "result"],
        "Changes delivered within the time that delivered_within_seconds promises (within), or later \
         (late)");
    SLA_SECONDS = gauge("lighterman_sla_seconds", DESTINATION_TYPE,
        "The time that delivered_within_seconds promises");

    // Deliveries.
    BACKLOG = gauge("lighterman_delivery_backlog_events", &["destination", "state"],
        "Events in the outbox that are not delivered yet, held ones apart: ready, waiting for another \
         event, sending, unknown, accepted, or backing off");
    OLDEST_AGE = gauge("lighterman_delivery_oldest_age_seconds", DESTINATION,
        "Age in the outbox of the oldest change that is not delivered, held ones, first loads and replays \
         apart; 0 when there is none");
    FAILING = gauge("lighterman_destination_failing_seconds", DESTINATION,
        "For how long every request has failed; 0 when the newest one did not");
    PAUSED = gauge("lighterman_destination_paused", DESTINATION,
        "1 while a person has paused it");
    DESTINATION_TURN_AGE = gauge("lighterman_destination_turn_age_seconds", DESTINATION,
        "Time since the delivery loop last turned; it does so each second, whether there is something to deliver \
         or not");
    DELIVERED = counter("lighterman_delivery_delivered_total", State, DESTINATION,
        "Events delivered");
    SUPERSEDED = counter("lighterman_delivery_superseded_total", State, DESTINATION,
        "Events not sent because a newer state of their key took their place");
    DISCARDED = counter("lighterman_delivery_discarded_total", State, DESTINATION,
        "Events that a person dropped, or that were only compared in shadow mode");
    OUTCOMES = counter("lighterman_delivery_outcomes_total", Process, &["destination", "outcome"],
        "What attempts came to, per event: applied, accepted, retry, rejected, conflict, missing, unknown");
    RETRIES = counter("lighterman_delivery_retries_total", Process, DESTINATION,
        "Events sent that had been tried before");
    HELD_ITEMS = gauge("lighterman_held_items", HELD,
        "What is held for a person now: by a destination or by the mapping, and why");
    HELD_TOTAL = counter("lighterman_held_total", Process, HELD,
        "What became held for a person: by a destination or by the mapping, and why");

    // Reconcile.
    RECONCILE_MISMATCH = gauge("lighterman_reconcile_mismatch_ratio", DESTINATION_TYPE,
        "Of the keys compared last, the part that the destination holds otherwise than they were told: missing, \
         extra or different, from 0 to 1; absent before the first comparison");
    RECONCILE_AGE = gauge("lighterman_reconcile_last_seconds", DESTINATION,
        "Time since the newest comparison ended; absent before the first one");
    RECONCILE_SOURCE_MISMATCH = gauge("lighterman_reconcile_source_mismatch_ratio", SOURCE_TYPE,
        "Of what was compared last with the source's rows, the part that was told otherwise: keys by their event \
         type, sums of tables as sums, from 0 to 1; absent before the first comparison");
    RECONCILE_SOURCE_AGE = gauge("lighterman_reconcile_source_last_seconds", SOURCE,
        "Time since the newest comparison with the source's rows ended; absent before the first one");

    // The API.
    REQUESTS = counter("lighterman_api_requests_total", Process, DESTINATION,
        "Requests that left for the API, those that only ask included");
    RESPONSES = counter("lighterman_api_responses_total", Process, &["destination", "class"],
        "Answers to requests with events, by class of status: 2xx, 3xx, 4xx, 5xx, other; none where the \
         answer has no status or did not come");
    RESPONSE_SECONDS = histogram("lighterman_api_response_seconds", DESTINATION,
        "Time from a request with events to its answer");
    THROTTLED = counter("lighterman_api_throttled_total", Process, DESTINATION,
        "Answers that said there were too many requests");
    REFUSED_BY_LIMITS = counter("lighterman_api_limited_total", Process, DESTINATION,
        "Calls that our own limits for the API left no room for; their events left later");

    // Sources.
    SOURCE_UP = gauge("lighterman_source_up", SOURCE,
        "1 while the source is captured; 0 while it is not, with the reason in lighterman status");
    SOURCE_PARTS_DOWN = gauge("lighterman_source_parts_down", SOURCE,
        "Parts of the source that are not captured while the rest of it is: tables that the log does not \
         tell or that are not read on, questions that the database does not answer");
    SOURCE_ALIVE_AGE = gauge("lighterman_source_turn_age_seconds", SOURCE,
        "Time since the capture loop last turned; it does so each second, whether there are changes or not");
    CANARY_AGE = gauge("lighterman_source_canary_age_seconds", SOURCE,
        "Time since the source's log was last proven to come through: it stays small while nothing changes, and \
         grows while capture is dead");
    MAPPING_REFUSED = gauge("lighterman_mapping_refused", SOURCE,
        "1 while a changed mapping of the source is refused, so that the one before it is in force");
    CAPTURE_LATENCY = histogram("lighterman_capture_latency_seconds", SOURCE,
        "Time from the commit at the source to the outbox, of the newest change of each batch");
    SOURCE_LAG = gauge("lighterman_source_lag_seconds", SOURCE,
        "How far behind the source's log capture is, as found within the last minute; absent where that is not \
         known, such as while a source is quiet that says nothing then");
    SOURCE_LAG_BYTES = gauge("lighterman_source_lag_bytes", SOURCE,
        "Log that the database keeps for us; absent where it does not count in bytes");
    RETENTION_LEFT = gauge("lighterman_source_retention_left_seconds", SOURCE,
        "Time until the database drops log that we have not read, or its disk is full, as it goes now; \
         absent where it never does or that cannot be known");
    RETENTION_LEFT_BYTES = gauge("lighterman_source_retention_left_bytes", SOURCE,
        "What may still be written before the database drops log that we have not read; absent where it \
         never does or that cannot be known");
    CHANGES = counter("lighterman_source_changes_total", State, SOURCE,
        "Row changes read");
    FILTERED = counter("lighterman_source_filtered_total", State, SOURCE,
        "Row changes that mean nothing to any rule");
    EVENTS = counter("lighterman_source_events_total", State, SOURCE,
        "Events put in the outbox");
    SUPPRESSED = counter("lighterman_source_suppressed_total", State, &["source", "reason"],
        "Events not put in the outbox: unchanged, or facts told already (unchanged); older than what was \
         told (stale)");
    SNAPSHOT_TABLES = gauge("lighterman_snapshot_tables", &["source", "state"],
        "Tables by whether they have been read (done) or are being read (reading)");
    SNAPSHOT_ROWS = gauge("lighterman_snapshot_rows", SOURCE,
        "Rows read of all tables");
    SNAPSHOT_ROWS_LEFT = gauge("lighterman_snapshot_rows_left", SOURCE,
        "Rows still to be read of tables whose size the database estimates");

    // The agent.
    AGENT_INFO = gauge("lighterman_agent_info", &["version"],
        "1, with the agent's version");
    CHECK_FINDINGS = gauge("lighterman_check_findings", &["level"],
        "What the agent's own check found last, by how bad it is: pass, warn, fail; absent before the first one");
    SETTINGS_REFUSED = gauge("lighterman_settings_refused", &[],
        "1 while changed settings are refused, so that those before them are in force");
    ALERTS_FIRING = gauge("lighterman_alerts_firing", &["alert"],
        "Series of an alert that fire; absent without alerts in the settings");
    ALERT_LETTERS = counter("lighterman_alert_letters_total", Process, &["channel", "result"],
        "Letters about alerts, and pings of the dead man's switch, that were taken (sent) or not (failed)");
    STATE_READABLE = gauge("lighterman_state_readable", &[],
        "1 when the state file could be read for this answer; else what lives in it is absent");
    STATE_BYTES = gauge("lighterman_state_bytes", &["file"],
        "Size of the state file (database) and of its log (wal)");
    STATE_DISK_FREE = gauge("lighterman_state_disk_free_bytes", &[],
        "Free room on the state folder's disk; only on Unix");
    OTLP_SPANS = counter("lighterman_otlp_spans_total", Process, &["result"],
        "Spans for a collector by what became of them: taken (sent), or left out (dropped) because they were too \
         many or refused");
    OTLP_FAILED = counter("lighterman_otlp_failed_total", Process, &[],
        "Requests to a collector that failed, for traces and metrics");
    PROCESS_MEMORY = gauge("process_resident_memory_bytes", &[],
        "Memory of the process; only on Linux");
    PROCESS_FILES = gauge("process_open_fds", &[],
        "Files and connections that the process has open; only on Linux");
    PROCESS_FILES_MAX = gauge("process_max_fds", &[],
        "So many it may have open; only on Linux");
    PROCESS_START = gauge("process_start_time_seconds", &[],
        "When the agent started, in seconds since 1970");
}
