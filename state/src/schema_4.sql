-- Version 4: care of the source's log, and tables that are read again and compared.

-- What waits for its time, found without walking all that is marked.
CREATE INDEX mark_due ON mark (relation, due) WHERE due IS NOT NULL;

-- Care of the source's log: which server the checkpoint came from, and how the log was kept there
-- when it was last looked at.
ALTER TABLE source ADD COLUMN server TEXT;  -- in the adapter's own words; NULL = not known
-- Why parts of it do not run while the rest does, in plain words; NULL = they run.
ALTER TABLE source ADD COLUMN untold TEXT;      -- tables that the log does not tell
ALTER TABLE source ADD COLUMN unanswered TEXT;  -- questions that the database does not answer

CREATE TABLE look (
  source      INTEGER PRIMARY KEY REFERENCES source(id),
  looked_at   INTEGER NOT NULL,
  state       TEXT,                   -- what the database calls it; NULL = it keeps no log for us
  kept_bytes  INTEGER,
  left_bytes  INTEGER,                -- until the database drops it; NULL = it never does
  room_bytes  INTEGER,                -- free on its disk; NULL = not known
  growth_per_hour INTEGER,            -- bytes; NULL = not measured yet
  sentence    TEXT,                   -- all that in plain words
  alarm       TEXT,                   -- what a person should know of it; NULL = nothing
  heartbeat_sent_at INTEGER,          -- NULL = none was sent
  heartbeat_took_ms INTEGER           -- NULL = it has not come round
) STRICT;
-- Tables that are read again and compared: a lost position, or a person who asked for it.

-- Readings that a person asked for beside a running agent, which takes them up.
CREATE TABLE resync_request (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  source   TEXT NOT NULL,
  tables   TEXT,                      -- JSON list; NULL = all, and the log from where it begins
  asked_at INTEGER NOT NULL
) STRICT;

-- Facts that were told: none of them is told twice, whatever is read again.
CREATE TABLE fact (
  source     INTEGER NOT NULL,
  id         BLOB NOT NULL,           -- 16 bytes: the event's id as a fact
  digest     BLOB,                    -- 8 bytes of what was told last; NULL = not known
  generation INTEGER NOT NULL,        -- of the rule that told it last
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
INSERT INTO fact (source, id, digest, generation)
  SELECT source, unhex(substr(event_id, 5)), NULL, 0 FROM outbox WHERE op = 'fact'
  ON CONFLICT DO NOTHING;

-- A replica's rows by the reading they were last seen in; what the present one did not see is gone.
ALTER TABLE replica ADD COLUMN reading INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replica ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replica_row ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;

-- The generation in which the rule's present form came into force; later ones are readings.
ALTER TABLE rule ADD COLUMN formed INTEGER NOT NULL DEFAULT 0;
UPDATE rule SET formed = generation;
-- The generation of the rule that held it: what a later reading did not see is no longer there.
ALTER TABLE held ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
UPDATE held SET generation = coalesce((SELECT r.generation FROM rule r
  WHERE r.source = held.source AND r.name = held.rule), 0);

-- How a table's reading goes: for status, and as the record that it was completed.
ALTER TABLE snapshot ADD COLUMN estimate INTEGER;     -- rows, as the source's catalogue believes
ALTER TABLE snapshot ADD COLUMN run_at INTEGER;       -- since when it is read without a break
ALTER TABLE snapshot ADD COLUMN run_rows INTEGER NOT NULL DEFAULT 0;  -- rows before that
ALTER TABLE snapshot ADD COLUMN read_at INTEGER;      -- its newest chunk
ALTER TABLE snapshot ADD COLUMN done_at INTEGER;      -- its last chunk was stored
ALTER TABLE snapshot ADD COLUMN paused_until INTEGER; -- within a pause of the settings
ALTER TABLE snapshot ADD COLUMN problem TEXT;         -- why it does not go on
-- Tables whose rows the log left unclear: each is read again, but not faster than it can be read.
ALTER TABLE snapshot ADD COLUMN begun_at INTEGER;     -- since when it is read; NULL = not begun yet
ALTER TABLE snapshot ADD COLUMN marked INTEGER NOT NULL DEFAULT 0;  -- 1 = unclear, and read again;
                                                      -- 2 = and what is being read of it cannot go on
ALTER TABLE snapshot ADD COLUMN rest_until INTEGER;   -- not before; NULL = it was not read for that

-- Ranges of a large table that are read at once, each with its own progress; gone when all are read.
-- While there are any, the table's own cursor is 'ranges'.
CREATE TABLE snapshot_range (
  source     INTEGER NOT NULL,
  table_name TEXT NOT NULL,
  range      INTEGER NOT NULL,
  cursor     TEXT NOT NULL,
  done       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (source, table_name, range)
) STRICT, WITHOUT ROWID;
