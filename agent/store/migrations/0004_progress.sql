-- A measurement of progress replaces the previous measurement in the history: an action of many hours with a measurement
-- each second has a short history.

ALTER TABLE actions ADD COLUMN measured INTEGER NOT NULL DEFAULT 0 CHECK (measured IN (0, 1));
ALTER TABLE history ADD COLUMN measured INTEGER NOT NULL DEFAULT 0 CHECK (measured IN (0, 1));

DROP TRIGGER history_goes_on;
CREATE TRIGGER history_continues AFTER UPDATE OF state, state_payload ON actions
BEGIN
    INSERT INTO history (action_seq, version, timestamp, state, state_payload, measured)
    VALUES (NEW.seq, NEW.version, NEW.state_ts, NEW.state, NEW.state_payload, NEW.measured);
    DELETE FROM history
    WHERE NEW.measured = 1 AND action_seq = NEW.seq AND version = OLD.version AND measured = 1;
END;

-- Only measurements are deleted, and never the newest line.
DROP TRIGGER history_of_pending_never_deleted;
CREATE TRIGGER history_of_pending_never_deleted BEFORE DELETE ON history
WHEN EXISTS (
    SELECT 1 FROM actions
    WHERE seq = OLD.action_seq AND finished_ts IS NULL AND NOT (OLD.measured = 1 AND OLD.version < version))
BEGIN
    SELECT RAISE(ABORT, 'the history of an action that is queued or running is never deleted');
END;
