-- Version 5: what delivery knows beyond the last attempt.

ALTER TABLE delivery ADD COLUMN until_at INTEGER;  -- accepted: the API should have applied it by then
ALTER TABLE delivery ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET created_at = updated_at;
-- 0 tombstones and less stock, 1 more stock, 2 the rest; 10 more for what only repeats: snapshots
-- and replays. The lowest leaves first.
ALTER TABLE delivery ADD COLUMN priority INTEGER NOT NULL DEFAULT 2;
-- The state's type (kind.rs); 0 = a fact.
ALTER TABLE delivery ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET kind = coalesce((SELECT CASE o.event_type
    WHEN 'inventory.availability.v1' THEN 1 WHEN 'product.v1' THEN 2 WHEN 'price.v1' THEN 3
    WHEN 'customer.v1' THEN 4 WHEN 'order.v1' THEN 5 WHEN 'shipment.v1' THEN 6
    WHEN 'return.v1' THEN 7 WHEN 'purchase_order.v1' THEN 8 ELSE 0 END
  FROM outbox o WHERE o.offset = delivery.offset), 0);
ALTER TABLE delivery ADD COLUMN measure TEXT;      -- what is available, or the price; NULL = neither
ALTER TABLE delivery ADD COLUMN dropping INTEGER NOT NULL DEFAULT 0;  -- 1 = takes the key, or its last piece, away
ALTER TABLE delivery ADD COLUMN approved INTEGER NOT NULL DEFAULT 0;  -- 1 = a person let it pass the guards
ALTER TABLE delivery ADD COLUMN needs INTEGER;     -- lane that must be clear first; NULL = none

DROP INDEX delivery_queued;
CREATE INDEX delivery_queued ON delivery (destination, priority, offset)
  WHERE state = 'queued' AND needs IS NULL;
CREATE INDEX delivery_needs ON delivery (destination, needs)
  WHERE state = 'queued' AND needs IS NOT NULL;
CREATE INDEX delivery_needs_due ON delivery (destination, created_at)
  WHERE state = 'queued' AND needs IS NOT NULL;
CREATE INDEX delivery_dropping ON delivery (destination, kind, state, updated_at)
  WHERE dropping = 1;

-- What each destination was told last of a state's key: who is to be told first is measured by it,
-- and so is what the guards look at.
CREATE TABLE told_to (
  destination INTEGER NOT NULL,
  kind        INTEGER NOT NULL,
  lane        INTEGER NOT NULL,
  measure     TEXT,
  sent_at     INTEGER NOT NULL,
  PRIMARY KEY (destination, kind, lane)
) STRICT, WITHOUT ROWID;

-- Each attempt that was not simply applied at the first try, and what a person did.
CREATE TABLE attempt (
  destination INTEGER NOT NULL,
  offset      INTEGER NOT NULL,
  number      INTEGER NOT NULL,       -- counts rows, not attempts
  attempt     INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  outcome     TEXT NOT NULL,
  status      INTEGER,
  body        TEXT,
  latency_ms  INTEGER,
  cause       TEXT,
  PRIMARY KEY (destination, offset, number)
) STRICT, WITHOUT ROWID;

-- What a person asked of a destination beside a running agent. destination: '' = what concerns none.
CREATE TABLE request (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  destination TEXT NOT NULL,
  command     TEXT NOT NULL,          -- JSON
  asked_at    INTEGER NOT NULL,
  progress    INTEGER NOT NULL DEFAULT 0,  -- long ones are done in steps; where the next begins
  upto        INTEGER,                -- where the last one ends
  done        INTEGER NOT NULL DEFAULT 0,  -- so many were done
  done_at     INTEGER,
  answer      TEXT
) STRICT;
CREATE INDEX request_open ON request (destination, id) WHERE done_at IS NULL;

ALTER TABLE destination ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;  -- 1 = paused, 2 = is to be when drained
ALTER TABLE destination ADD COLUMN paused_until INTEGER;  -- NULL = until a person lets it go on
ALTER TABLE destination ADD COLUMN drain_upto INTEGER;    -- the newest offset that still leaves
ALTER TABLE destination ADD COLUMN quota_day INTEGER NOT NULL DEFAULT 0;   -- days since 1970 in its zone
ALTER TABLE destination ADD COLUMN quota_used INTEGER NOT NULL DEFAULT 0;  -- requests that day, or more
ALTER TABLE destination ADD COLUMN shadow INTEGER NOT NULL DEFAULT 0;      -- 1 = it only compared last
ALTER TABLE destination ADD COLUMN throttled_until INTEGER;  -- the API said that it is too much

-- The newest event of the key, for as long as it stands in the outbox, and when it happened.
ALTER TABLE published ADD COLUMN offset INTEGER;
ALTER TABLE published ADD COLUMN occurred_at INTEGER;
-- A replayed event: the one that it repeats.
ALTER TABLE outbox ADD COLUMN copy_of INTEGER;
