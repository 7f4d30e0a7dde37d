-- Version 1 of the state file. One SQLite database holds everything the agent must not lose.
-- Positions are text whose order is log order; times are milliseconds since 1970 UTC.

-- Configured names, so that the big tables carry small numbers.
CREATE TABLE source (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  epoch      INTEGER NOT NULL DEFAULT 1,
  checkpoint TEXT,                    -- everything up to here is in this file
  updated_at INTEGER NOT NULL DEFAULT 0,
  committed_at INTEGER,               -- commit time of the newest change seen
  problem    TEXT                     -- why it does not run, in plain words; NULL = it runs
) STRICT;

CREATE TABLE destination (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- What was last published per key: version guard, unchanged suppression, values for cells the
-- log left out.
CREATE TABLE published (
  id             INTEGER PRIMARY KEY,
  source         INTEGER NOT NULL REFERENCES source(id),
  event_type     TEXT NOT NULL,
  key            TEXT NOT NULL,
  rule           TEXT NOT NULL,
  version        TEXT NOT NULL,
  digest         TEXT NOT NULL,
  mapping_digest TEXT NOT NULL,
  body           TEXT,                -- NULL = tombstone
  UNIQUE (source, event_type, key)
) STRICT;
CREATE INDEX published_by_rule ON published (source, rule, id) WHERE body IS NOT NULL;

-- Events on their way. AUTOINCREMENT: an offset is never used twice, also when the table is empty.
CREATE TABLE outbox (
  offset          INTEGER PRIMARY KEY AUTOINCREMENT,
  source          INTEGER NOT NULL REFERENCES source(id),
  event_id        TEXT NOT NULL,
  event_type      TEXT NOT NULL,
  key             TEXT NOT NULL,
  op              TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  tenant          TEXT NOT NULL,
  occurred_at     INTEGER NOT NULL,
  created_at      INTEGER NOT NULL,
  digest          TEXT NOT NULL,      -- of json, checked again when it is read
  json            TEXT NOT NULL
) STRICT;

-- One row per event and destination: where its delivery stands.
-- lane: published.id for state events, a negative hash of the key for facts.
CREATE TABLE delivery (
  destination   INTEGER NOT NULL REFERENCES destination(id),
  offset        INTEGER NOT NULL,
  lane          INTEGER NOT NULL,
  state         TEXT NOT NULL,
  tombstone     INTEGER NOT NULL,     -- 1 = newer events do not supersede it
  attempt       INTEGER NOT NULL DEFAULT 0,
  due_at        INTEGER,              -- back-off: not before; sending and unknown: deadline
  held_cause    TEXT,
  ticket        TEXT,
  cause         TEXT,
  answer_status INTEGER,
  answer_body   TEXT,
  latency_ms    INTEGER,
  updated_at    INTEGER NOT NULL,
  PRIMARY KEY (destination, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_lane ON delivery (destination, lane, offset)
  WHERE state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held');
CREATE INDEX delivery_queued ON delivery (destination, offset) WHERE state = 'queued';
CREATE INDEX delivery_waiting ON delivery (destination, state, due_at)
  WHERE state IN ('sending', 'unknown', 'accepted', 'backoff', 'held');
CREATE INDEX delivery_open ON delivery (offset)
  WHERE state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held');

-- Changes a mapping could not turn into an event without guessing. One open item per rule and row.
CREATE TABLE held (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  source     INTEGER NOT NULL REFERENCES source(id),
  rule       TEXT NOT NULL,
  event_type TEXT NOT NULL,
  table_name TEXT NOT NULL,
  row_key    TEXT NOT NULL,
  event_key  TEXT,
  position   TEXT NOT NULL,
  reason     TEXT NOT NULL,
  row_json   TEXT NOT NULL,
  held_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX held_row ON held (source, rule, row_key);

-- Snapshot progress per table; a row stays when the table is done.
CREATE TABLE snapshot (
  source     INTEGER NOT NULL REFERENCES source(id),
  table_name TEXT NOT NULL,
  epoch      INTEGER NOT NULL,
  done       INTEGER NOT NULL DEFAULT 0,
  cursor     TEXT,
  row_count  INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (source, table_name)
) STRICT, WITHOUT ROWID;

-- The last streamed change of each row of a table under snapshot, tombstones included, so that a
-- stale chunk row never overwrites it. Emptied when the table's snapshot is done.
CREATE TABLE guard (
  source        INTEGER NOT NULL,
  table_name    TEXT NOT NULL,
  row_key       TEXT NOT NULL,
  position      TEXT NOT NULL,
  transaction_id INTEGER NOT NULL,
  PRIMARY KEY (source, table_name, row_key)
) STRICT, WITHOUT ROWID;

-- Totals since the file was made.
CREATE TABLE counter (
  scope TEXT NOT NULL,                -- source:<name> or destination:<name>
  name  TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
