-- The limits on the bytes of the queue and of the histories no longer apply.
DROP TRIGGER waiting_begins;
DROP TRIGGER waiting_ends;
DROP TABLE waiting;
DROP TRIGGER history_continues;
CREATE TRIGGER history_continues AFTER UPDATE OF state, state_payload ON actions
BEGIN
    INSERT INTO history (action_seq, version, timestamp, state, state_payload, measured)
    VALUES (NEW.seq, NEW.version, NEW.state_ts, NEW.state, NEW.state_payload, NEW.measured);
    DELETE FROM history
    WHERE NEW.measured = 1 AND action_seq = NEW.seq AND version = OLD.version AND measured = 1;
END;
ALTER TABLE actions DROP COLUMN size;
ALTER TABLE actions DROP COLUMN history_bytes;
ALTER TABLE actions DROP COLUMN history_full;
