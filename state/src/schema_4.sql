-- Version 4.

-- What waits for its time, found without walking all that is marked.
CREATE INDEX mark_due ON mark (relation, due) WHERE due IS NOT NULL;

-- Care of the source's log: which server the checkpoint came from, and how the log was kept there
-- when it was last looked at.
ALTER TABLE source ADD COLUMN server TEXT;  -- in the adapter's own words; NULL = not known

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
