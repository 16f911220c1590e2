-- The requester that a controller named, and the keys of ids and of Request-Ids, are lost.
CREATE TABLE keys_with_source (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT NOT NULL CHECK (source IN ('caller', 'hook')),
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    action_id   TEXT NOT NULL,
    fingerprint BLOB,
    created_ts  INTEGER NOT NULL,
    UNIQUE (source, owner, key),
    -- A delivery of a hook belongs to no user.
    CHECK (source = 'caller' OR owner = '')
);
INSERT INTO keys_with_source (seq, source, owner, key, action_id, fingerprint, created_ts)
SELECT seq, source, owner, key, action_id, fingerprint, created_ts FROM idempotency_keys
WHERE source IN ('caller', 'hook') ORDER BY seq;
DROP TRIGGER idempotency_keys_of_actions;
DROP TABLE idempotency_keys;
ALTER TABLE keys_with_source RENAME TO idempotency_keys;
CREATE TRIGGER idempotency_keys_of_actions AFTER INSERT ON actions
WHEN NEW.idempotency_key IS NOT NULL OR NEW.requester = 'HOOK'
BEGIN
    INSERT INTO idempotency_keys (source, owner, key, action_id, fingerprint, created_ts)
    VALUES (CASE NEW.requester WHEN 'HOOK' THEN 'hook' ELSE 'caller' END,
            CASE NEW.requester WHEN 'HOOK' THEN '' ELSE NEW.user END,
            NEW.idempotency_key, NEW.id, NEW.fingerprint, NEW.created_ts);
END;

CREATE TRIGGER idempotency_keys_never_change BEFORE UPDATE ON idempotency_keys
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key never changes');
END;
DROP TRIGGER events_of_scheduled;
CREATE TRIGGER events_of_scheduled AFTER INSERT ON actions
BEGIN
    INSERT INTO new_events (timestamp, event, user, requester, kind, action_id, details)
    VALUES (NEW.scheduled_ts, 'action.scheduled', NEW.user, NEW.requester, NEW.kind, NEW.id,
            json_object('async_action_id', NEW.seq,
                        'args', CASE WHEN length(NEW.args) <= 4096 THEN json(NEW.args)
                                     ELSE json_object('left_out', json_object('bytes', length(NEW.args))) END));
END;
ALTER TABLE actions DROP COLUMN core_requester;
ALTER TABLE actions DROP COLUMN key_source;
