-- Version 4.

-- What waits for its time, found without walking all that is marked.
CREATE INDEX mark_due ON mark (relation, due) WHERE due IS NOT NULL;
