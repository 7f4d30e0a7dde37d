-- Version 3: the rules of each source as they were last in force, so that a new or changed one is
-- told over the rows that are there, and what no row tells any more ends.

CREATE TABLE rule (
  source     INTEGER NOT NULL REFERENCES source(id),
  name       TEXT NOT NULL,
  digest     TEXT NOT NULL,           -- of all that its events are made of
  event_type TEXT NOT NULL,
  table_name TEXT NOT NULL,           -- its own table
  fact       INTEGER NOT NULL,
  relates    INTEGER NOT NULL,        -- it needs rows of several tables
  generation INTEGER NOT NULL,        -- rises with every other digest
  stage      INTEGER NOT NULL,        -- see Stage
  since      TEXT,                    -- it saw every change behind this position; NULL = every one
  quiet      INTEGER NOT NULL,        -- its facts were told before their rows are read into replicas
  active     INTEGER NOT NULL,        -- it stands in the mappings
  successor  TEXT,                    -- the rule that came into force in its place
  left_at    TEXT,                    -- the checkpoint when it was taken out
  left_read  TEXT,                    -- how far its table was read then
  back_at    TEXT,                    -- the checkpoint when its reading went on; it saw nothing between
  PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;

-- The generation of the rule that told a key last.
ALTER TABLE published ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
-- The generation says more: another file may make the same events.
ALTER TABLE published DROP COLUMN mapping_digest;

-- The table is read from its first row again when the present reading is done.
ALTER TABLE snapshot ADD COLUMN once_more INTEGER NOT NULL DEFAULT 0;
-- For whom a table is read again is said by the rules.
ALTER TABLE snapshot DROP COLUMN again;

CREATE INDEX held_key ON held (source, event_key, rule);
