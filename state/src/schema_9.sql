-- Version 9: a key that is told anew costs one page of the file less.

-- What stood here before was of keys that have a body alone: each new body took the entry out and put it in again. Now
-- an entry moves only when another rule tells the key.
DROP INDEX published_by_rule;
CREATE INDEX published_by_rule ON published (source, rule, id);
