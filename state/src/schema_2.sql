-- Version 2: what relations remember: replicas of the columns that mappings need of tables they
-- join, add up and list, what is still to be worked out, and what each row told.

-- A table that was read before is read again for its replica alone.
ALTER TABLE snapshot ADD COLUMN again INTEGER NOT NULL DEFAULT 0;

CREATE TABLE replica (
  id         INTEGER PRIMARY KEY,
  source     INTEGER NOT NULL REFERENCES source(id),
  table_name TEXT NOT NULL,
  columns    TEXT NOT NULL,           -- JSON list; columns are only added, at the end
  UNIQUE (source, table_name)
) STRICT;

CREATE TABLE replica_row (
  replica INTEGER NOT NULL,
  row_key TEXT NOT NULL,
  cells   TEXT NOT NULL,              -- JSON list in the order of the columns
  places  TEXT NOT NULL,              -- JSON list: the row's entries in replica_place
  PRIMARY KEY (replica, row_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE replica_index (
  id      INTEGER PRIMARY KEY,
  replica INTEGER NOT NULL,
  on_what TEXT NOT NULL,
  UNIQUE (replica, on_what)
) STRICT;

-- Rows of a replica by what an index's expressions give for them.
CREATE TABLE replica_place (
  idx     INTEGER NOT NULL,
  value   TEXT NOT NULL,
  row_key TEXT NOT NULL,
  PRIMARY KEY (idx, value, row_key)
) STRICT, WITHOUT ROWID;

-- A rule that needs rows of several tables.
CREATE TABLE relation (
  id     INTEGER PRIMARY KEY,
  source INTEGER NOT NULL REFERENCES source(id),
  rule   TEXT NOT NULL,
  digest TEXT NOT NULL,               -- of the mapping file that the replicas were worked out by
  UNIQUE (source, rule)
) STRICT;

-- What is to be worked out anew. what: 0 a row of the rule's own table, 1 an event's key.
CREATE TABLE mark (
  relation INTEGER NOT NULL,
  what     INTEGER NOT NULL,
  key      TEXT NOT NULL,
  due      INTEGER,                   -- not before, in milliseconds
  json     TEXT NOT NULL,
  PRIMARY KEY (relation, what, key)
) STRICT, WITHOUT ROWID;

-- The event that each row of a rule's own table belongs to.
CREATE TABLE told (
  relation  INTEGER NOT NULL,
  row_key   TEXT NOT NULL,
  event_key TEXT NOT NULL,
  held      INTEGER NOT NULL,
  part      TEXT NOT NULL,
  PRIMARY KEY (relation, row_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX told_by_key ON told (relation, event_key, row_key);

-- Grouped events: rows that agree in what is not added up, and the sums of what is.
CREATE TABLE group_part (
  relation  INTEGER NOT NULL,
  event_key TEXT NOT NULL,
  same      TEXT NOT NULL,
  row_count INTEGER NOT NULL,
  sums      TEXT NOT NULL,
  PRIMARY KEY (relation, event_key, same)
) STRICT, WITHOUT ROWID;
