-- Measurements of progress become ordinary lines of the history.
DROP TRIGGER history_continues;
DROP TRIGGER history_of_pending_never_deleted;
ALTER TABLE actions DROP COLUMN measured;
ALTER TABLE history DROP COLUMN measured;
CREATE TRIGGER history_goes_on AFTER UPDATE OF state, state_payload ON actions
BEGIN
    INSERT INTO history (action_seq, version, timestamp, state, state_payload)
    VALUES (NEW.seq, NEW.version, NEW.state_ts, NEW.state, NEW.state_payload);
END;
CREATE TRIGGER history_of_pending_never_deleted BEFORE DELETE ON history
WHEN EXISTS (SELECT 1 FROM actions WHERE seq = OLD.action_seq AND finished_ts IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'the history of an action that is queued or running is never deleted');
END;
