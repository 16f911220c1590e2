-- Nothing is lost: the key of a hook's delivery begins again with 'hook' and a line end.
CREATE TABLE keys_without_source (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    action_id   TEXT NOT NULL,
    fingerprint BLOB,
    created_ts  INTEGER NOT NULL,
    UNIQUE (owner, key)
);
INSERT INTO keys_without_source (seq, owner, key, action_id, fingerprint, created_ts)
SELECT seq, owner, CASE source WHEN 'hook' THEN 'hook' || char(10) || key ELSE key END, action_id, fingerprint, created_ts
FROM idempotency_keys ORDER BY seq;
DROP TRIGGER idempotency_keys_of_actions;
DROP TABLE idempotency_keys;
ALTER TABLE keys_without_source RENAME TO idempotency_keys;
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
