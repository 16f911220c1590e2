-- The outcome of a final action, the reason of an action, and the times between which it may start.

ALTER TABLE actions ADD COLUMN outcome TEXT
    CHECK (outcome IS NULL OR outcome IN ('done', 'failed', 'cancelled', 'timed_out', 'interrupted', 'expired'));
ALTER TABLE actions ADD COLUMN reason TEXT;
-- Microseconds since the epoch: not started before, and failed as expired if not started until then.
ALTER TABLE actions ADD COLUMN not_before INTEGER;
ALTER TABLE actions ADD COLUMN not_after INTEGER;

-- The actions that ended before this migration: their payload names the outcome.
DROP TRIGGER actions_finished_never_change;
UPDATE actions SET outcome = CASE
    WHEN state = 'DONE' THEN 'done'
    WHEN json_extract(state_payload, '$.cancelled') IS 1 THEN 'cancelled'
    WHEN json_extract(state_payload, '$.timed_out') IS 1 THEN 'timed_out'
    WHEN json_extract(state_payload, '$.interrupted') IS 1 THEN 'interrupted'
    ELSE 'failed' END
WHERE finished_ts IS NOT NULL;
CREATE TRIGGER actions_finished_never_change BEFORE UPDATE ON actions
WHEN OLD.finished_ts IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a finished action never changes');
END;

CREATE TRIGGER actions_end_with_an_outcome BEFORE UPDATE OF outcome, finished_ts ON actions
WHEN (NEW.outcome IS NULL) <> (NEW.finished_ts IS NULL) OR (NEW.outcome IS 'done') <> (NEW.state = 'DONE')
BEGIN
    SELECT RAISE(ABORT, 'an action has an outcome once it is final, and done only where it is DONE');
END;

CREATE INDEX actions_not_after ON actions (not_after) WHERE finished_ts IS NULL AND not_after IS NOT NULL;
