-- Version 8: indexes of deliveries that cost less for each event.

-- What stood here before was state IN (...): for a list of more than two SQLite builds a table, for each row that is
-- written and each index, to look one word up in it. A chain of OR is a few comparisons. A statement that uses such an
-- index says the same chain, its beginning, or one state of it; held is the last, so that it can be left out.
DROP INDEX delivery_lane;
CREATE INDEX delivery_lane ON delivery (destination, lane, offset)
  WHERE state = 'queued' OR state = 'sending' OR state = 'unknown' OR state = 'accepted'
    OR state = 'backoff' OR state = 'held';
DROP INDEX delivery_waiting;
CREATE INDEX delivery_waiting ON delivery (destination, state, due_at)
  WHERE state = 'sending' OR state = 'unknown' OR state = 'accepted' OR state = 'backoff'
    OR state = 'held';
-- What asked it is answered by the others: each event was in it and out of it twice.
DROP INDEX delivery_open;
