-- The source of an idempotency key, a caller or a hook, becomes a column. Before, the key of a hook's delivery began with
-- 'hook' and a line end, which no header can contain.

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
SELECT seq,
       CASE owner WHEN '' THEN 'hook' ELSE 'caller' END,
       owner,
       CASE WHEN owner = '' AND key LIKE 'hook' || char(10) || '%' THEN substr(key, 6) ELSE key END,
       action_id, fingerprint, created_ts
FROM idempotency_keys ORDER BY seq;

DROP TRIGGER idempotency_keys_of_actions;
DROP TABLE idempotency_keys;
ALTER TABLE keys_with_source RENAME TO idempotency_keys;

-- Added in the commit of the action. A second action with the same key fails here.
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
