-- Idempotency keys that outlive the actions they scheduled.

-- A key belongs to the user of the action. A delivery of a hook belongs to no user: its key is a hash of the
-- application and the body. The fingerprint is a keyed hash of kind, arguments and secrets; it is NULL if an agent
-- with an older schema accepted the key.
CREATE TABLE idempotency_keys (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    action_id   TEXT NOT NULL,
    fingerprint BLOB,
    created_ts  INTEGER NOT NULL,
    UNIQUE (owner, key)
);

INSERT INTO idempotency_keys (owner, key, action_id, created_ts)
SELECT '', delivery, action_id, received_ts FROM deliveries ORDER BY seq;

INSERT OR IGNORE INTO idempotency_keys (owner, key, action_id, created_ts)
SELECT CASE requester WHEN 'HOOK' THEN '' ELSE user END, idempotency_key, id, created_ts
FROM actions WHERE idempotency_key IS NOT NULL ORDER BY seq;

DROP TRIGGER deliveries_of_hooks;
DROP TABLE deliveries;
DROP INDEX actions_idempotency;

ALTER TABLE actions ADD COLUMN fingerprint BLOB;

-- Added in the commit of the action. A second action with the same key fails here.
CREATE TRIGGER idempotency_keys_of_actions AFTER INSERT ON actions
WHEN NEW.idempotency_key IS NOT NULL OR NEW.requester = 'HOOK'
BEGIN
    INSERT INTO idempotency_keys (owner, key, action_id, fingerprint, created_ts)
    VALUES (CASE NEW.requester WHEN 'HOOK' THEN '' ELSE NEW.user END, NEW.idempotency_key, NEW.id, NEW.fingerprint,
            NEW.created_ts);
END;

CREATE TRIGGER idempotency_keys_never_change BEFORE UPDATE ON idempotency_keys
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key never changes');
END;
