-- Limits on the bytes of the waiting actions, and of the history of one action.

-- Bytes of arguments, secrets and headers, as they are stored.
ALTER TABLE actions ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
-- Bytes of all payloads of the action, and whether they are beyond the limit of its history.
ALTER TABLE actions ADD COLUMN history_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE actions ADD COLUMN history_full INTEGER NOT NULL DEFAULT 0 CHECK (history_full IN (0, 1));

UPDATE actions SET size = length(CAST(args AS BLOB)) + length(CAST(headers AS BLOB))
                          + ifnull(length(CAST(secrets AS BLOB)), 0)
WHERE finished_ts IS NULL;

-- The bytes of all NEW actions, in one row. Triggers update it, because a sum over a long queue takes long.
CREATE TABLE waiting (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    bytes    INTEGER NOT NULL CHECK (bytes >= 0)
);
INSERT INTO waiting SELECT 1, ifnull(sum(size), 0) FROM actions WHERE state = 'NEW';

CREATE TRIGGER waiting_begins AFTER INSERT ON actions
BEGIN
    UPDATE waiting SET bytes = bytes + NEW.size;
END;

CREATE TRIGGER waiting_ends AFTER UPDATE OF state ON actions
WHEN OLD.state = 'NEW' AND NEW.state <> 'NEW'
BEGIN
    UPDATE waiting SET bytes = bytes - OLD.size;
END;

-- The action itself always has its payload in full. Beyond the limit, its line in the history has the number of bytes.
DROP TRIGGER history_continues;
CREATE TRIGGER history_continues AFTER UPDATE OF state, state_payload ON actions
BEGIN
    INSERT INTO history (action_seq, version, timestamp, state, state_payload, measured)
    VALUES (NEW.seq, NEW.version, NEW.state_ts, NEW.state,
            CASE WHEN NEW.history_full = 1 AND NEW.state_payload IS NOT NULL
                 THEN json_object('left_out', json_object('bytes', length(CAST(NEW.state_payload AS BLOB)),
                                                          'option', 'actions.history_bytes'))
                 ELSE NEW.state_payload END,
            NEW.measured);
    DELETE FROM history
    WHERE NEW.measured = 1 AND action_seq = NEW.seq AND version = OLD.version AND measured = 1;
END;
