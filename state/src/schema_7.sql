-- Version 7: what people did, how the last days were, and what was compared.

-- Audit: who changed what. Each entry carries the hash of the one before; docs/operating/audit.md has
-- the form that is hashed. Triggers refuse what would break the chain by accident.
CREATE TABLE audit (
  number   INTEGER PRIMARY KEY,       -- 1, 2, 3; the oldest ones leave
  at       INTEGER NOT NULL,
  who      TEXT NOT NULL,
  what     TEXT NOT NULL,
  subject  TEXT NOT NULL,
  details  TEXT NOT NULL,             -- JSON, as it was hashed
  previous TEXT NOT NULL,             -- the hash of the entry before
  hash     TEXT NOT NULL
) STRICT;
-- What the oldest entry follows: the last one that left.
CREATE TABLE audit_anchor (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  number INTEGER NOT NULL,
  hash   TEXT NOT NULL
) STRICT;
INSERT INTO audit_anchor VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
-- Settings and rules as they were noted last.
CREATE TABLE audit_known (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL                 -- JSON
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_only_added_to BEFORE UPDATE ON audit BEGIN
  SELECT RAISE(ABORT, 'the audit record is only added to');
END;
CREATE TRIGGER audit_only_pruned BEFORE DELETE ON audit
WHEN OLD.number > (SELECT number FROM audit_anchor) BEGIN
  SELECT RAISE(ABORT, 'the audit record is only added to');
END;
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
WHEN NEW.number IS NOT (SELECT coalesce(max(number), (SELECT number FROM audit_anchor)) + 1 FROM audit)
  OR NEW.previous IS NOT coalesce((SELECT hash FROM audit ORDER BY number DESC LIMIT 1),
    (SELECT hash FROM audit_anchor)) BEGIN
  SELECT RAISE(ABORT, 'an audit entry follows the newest one');
END;
CREATE TRIGGER audit_anchor_goes_on BEFORE UPDATE ON audit_anchor WHEN NEW.number < OLD.number BEGIN
  SELECT RAISE(ABORT, 'what left the audit record does not come back');
END;
CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor BEGIN
  SELECT RAISE(ABORT, 'the audit record begins somewhere');
END;

-- What the agent's own check found last, for status and to tell what became worse since. One row.
CREATE TABLE checked (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  checked_at INTEGER NOT NULL,
  findings   TEXT NOT NULL            -- JSON list, as check --json has it
) STRICT;

-- Alerts: what fires and who was told of it, and when a source's log was last proven to come through.
CREATE TABLE alert (
  alert       TEXT NOT NULL,          -- the rule's name
  series      TEXT NOT NULL,          -- labels of the metric, '' = none
  level       TEXT NOT NULL,          -- warn | page
  sentence    TEXT NOT NULL,          -- what is wrong, for people
  look        TEXT NOT NULL,          -- how to look at it
  value       REAL NOT NULL,
  began_at    INTEGER NOT NULL,
  ended_at    INTEGER,                -- NULL = it fires
  told        TEXT NOT NULL,          -- JSON: channel to when it was last told that this fires
  ended_told  TEXT NOT NULL,          -- JSON: channels that were told that it is over
  PRIMARY KEY (alert, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert_channel (
  channel       TEXT PRIMARY KEY,
  sent          TEXT NOT NULL,        -- JSON: when it took the newest letters
  failing_since INTEGER,              -- NULL = it took the newest one
  problem       TEXT                  -- why, in short
) STRICT, WITHOUT ROWID;
CREATE TABLE canary (
  source    INTEGER PRIMARY KEY REFERENCES source(id),
  proven_at INTEGER NOT NULL,
  how       TEXT NOT NULL             -- what the proof is
) STRICT;

-- How the last day was, for the charts of the status page: the largest value of each minute.
CREATE TABLE sample (
  minute INTEGER NOT NULL,             -- since 1970
  series TEXT NOT NULL,                -- what was measured, of what: 'lag:erp', 'oldest:shop'
  value  INTEGER NOT NULL,
  PRIMARY KEY (minute, series)
) STRICT, WITHOUT ROWID;

-- Reconcile: what a destination holds, or what a source's rows say, compared with what was told.

-- Comparisons that a person asked for beside a running agent, which takes them up.
CREATE TABLE reconcile_request (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  side     TEXT NOT NULL,             -- destination, source
  name     TEXT NOT NULL,             -- of which one
  what     TEXT NOT NULL,             -- JSON
  asked_at INTEGER NOT NULL,
  begun_at INTEGER,
  done_at  INTEGER,
  run      INTEGER,                   -- what it came to; NULL = to nothing
  problem  TEXT                       -- why to nothing, in plain words
) STRICT;

-- What a comparison came to, a row for each event type; of a source, one more for the sums of its tables.
CREATE TABLE reconcile_run (
  run        INTEGER NOT NULL,
  event_type TEXT NOT NULL,           -- or 'sums'
  side       TEXT NOT NULL,           -- destination, source
  name       TEXT NOT NULL,           -- of which one
  began_at   INTEGER NOT NULL,
  took_ms    INTEGER NOT NULL,
  scheduled  INTEGER NOT NULL,        -- 1 = the settings asked for it, 0 = a person
  sample     INTEGER,                 -- so many keys at most; NULL = every key
  seed       INTEGER NOT NULL,        -- by which they were chosen
  looked_at  INTEGER NOT NULL,        -- keys, or sums: the sum of the six behind
  agree      INTEGER NOT NULL,
  missing    INTEGER NOT NULL,
  extra      INTEGER NOT NULL,
  different  INTEGER NOT NULL,
  lagging    INTEGER NOT NULL,        -- what was told is still on its way
  unknown    INTEGER NOT NULL,        -- could not be compared
  untold     INTEGER NOT NULL,        -- among the extra ones: keys that were never told
  notes      TEXT NOT NULL,           -- what was not looked for, and why: a JSON list of sentences
  PRIMARY KEY (run, event_type)
) STRICT, WITHOUT ROWID;
CREATE INDEX reconcile_run_of ON reconcile_run (side, name, run);

-- Keys of a comparison that do not agree, of the newest comparisons of each destination and source.
CREATE TABLE reconcile_difference (
  run        INTEGER NOT NULL,
  lane       INTEGER NOT NULL,        -- published.id; negative where there is none: nothing tells it again
  event_type TEXT NOT NULL,
  key        TEXT NOT NULL,
  class      TEXT NOT NULL,
  ours       TEXT NOT NULL,
  theirs     TEXT NOT NULL,
  since      INTEGER,                 -- when the destination was told of the key last
  PRIMARY KEY (run, lane)
) STRICT, WITHOUT ROWID;

-- Sums of a source's tables, of the same comparisons.
CREATE TABLE reconcile_sum (
  run        INTEGER NOT NULL,
  table_name TEXT NOT NULL,
  what       TEXT NOT NULL,           -- 'rows', or a column
  place      INTEGER NOT NULL,        -- in their order
  ours       TEXT NOT NULL,
  theirs     TEXT NOT NULL,
  class      TEXT,                    -- NULL = they agree
  PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;

-- What a person stopped a location for at a destination.
CREATE TABLE location_stop (
  destination INTEGER NOT NULL REFERENCES destination(id),
  location    TEXT NOT NULL,
  stop        TEXT NOT NULL,          -- freeze: nothing is told of its stock; zero: nothing to sell is
  until_at    INTEGER,                -- NULL = until a person releases it
  since_at    INTEGER NOT NULL,
  asked_by    TEXT NOT NULL,
  why         TEXT NOT NULL,
  tenant      TEXT NOT NULL,
  PRIMARY KEY (destination, location)
) STRICT, WITHOUT ROWID;

-- What a source's tables looked like before its ERP was upgraded.
CREATE TABLE shape (
  source     TEXT NOT NULL,
  table_name TEXT NOT NULL,
  taken_at   INTEGER NOT NULL,
  shape      TEXT NOT NULL,           -- JSON: columns and key
  PRIMARY KEY (source, table_name)
) STRICT, WITHOUT ROWID;

-- What is held, in the order in which it is listed and settled, of all causes and of one: a page costs what it shows,
-- however much is held.
CREATE INDEX delivery_held ON delivery (destination, offset) WHERE state = 'held';
CREATE INDEX delivery_held_cause ON delivery (destination, held_cause, offset) WHERE state = 'held';

-- A replay at a rate: its next step is not done before this.
ALTER TABLE request ADD COLUMN due_at INTEGER;
-- When a row began to be held for the reason it is held for now.
ALTER TABLE held ADD COLUMN first_at INTEGER;

-- Another mapping beside the one in force, on live changes: what it would tell otherwise. Nothing of it is sent.
CREATE TABLE shadow (
  source     TEXT PRIMARY KEY,
  digest     TEXT NOT NULL,           -- of both mappings: others begin anew
  files      TEXT NOT NULL,           -- the new mapping's, as the settings name them
  since_at   INTEGER NOT NULL,
  looked_at  INTEGER NOT NULL,
  rows       INTEGER NOT NULL,        -- changed rows that both mappings were tried on
  left_out   INTEGER NOT NULL,        -- changed rows that there was no time or way for
  same       INTEGER NOT NULL,        -- events that both tell alike
  changed    INTEGER NOT NULL,
  added      INTEGER NOT NULL,
  removed    INTEGER NOT NULL,
  held       INTEGER NOT NULL,        -- held by the new one alone, or for another reason
  freed      INTEGER NOT NULL,        -- held by the old one alone
  problem    TEXT                     -- why nothing is compared now
) STRICT, WITHOUT ROWID;
-- The newest differences, one of each key.
CREATE TABLE shadow_difference (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  source  TEXT NOT NULL,
  class   TEXT NOT NULL,              -- changed | added | removed | held | freed
  what    TEXT NOT NULL,              -- event type and key, or rule and row
  details TEXT NOT NULL,              -- JSON: fields with both values, or the reason
  seen_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX shadow_difference_of ON shadow_difference (source, class, what);
