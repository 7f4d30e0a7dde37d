-- Version 7: what people did, how the last days were, and what was compared.

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
