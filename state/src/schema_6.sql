-- Version 6: how long something has been failing that others wait for.

-- Since when this, or what it took the place of, has been failing or held; NULL = it does not.
ALTER TABLE delivery ADD COLUMN failing_since INTEGER;
UPDATE delivery SET failing_since = updated_at WHERE state IN ('backoff', 'unknown', 'held');
-- How long an event itself has been there says nothing of that.
DROP INDEX delivery_needs_due;
-- What is held for another one, found when that is delivered.
CREATE INDEX delivery_needs_held ON delivery (destination, needs)
  WHERE state = 'held' AND needs IS NOT NULL;
-- due_at of something held that others need: when those are to be held, too.
UPDATE delivery SET due_at = updated_at WHERE state = 'held' AND kind IN (2, 5, 8);
