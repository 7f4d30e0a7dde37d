-- Version 5: what delivery knows beyond the last attempt.

ALTER TABLE delivery ADD COLUMN until_at INTEGER;  -- accepted: the API should have applied it by then
