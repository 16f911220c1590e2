-- Actions with an id, a time of creation and a requester from a controller of the node protocol; repeated Request-Ids.

-- The requester that the controller names; `requester` remains the channel of the request.
ALTER TABLE actions ADD COLUMN core_requester TEXT
    CHECK (core_requester IS NULL
           OR core_requester IN ('AGENT_API', 'CORE_API', 'CORE_PLAYBOOK', 'CORE_DECLARATIVE'));
ALTER TABLE actions ADD COLUMN key_source TEXT
    CHECK (key_source IS NULL OR key_source IN ('caller', 'hook', 'id', 'request'));

-- Two more sources of keys: the id that a caller gave its action, and a Request-Id with kind and arguments.
CREATE TABLE keys_with_sources (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT NOT NULL CHECK (source IN ('caller', 'hook', 'id', 'request')),
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    action_id   TEXT NOT NULL,
    fingerprint BLOB,
    created_ts  INTEGER NOT NULL,
    UNIQUE (source, owner, key),
    -- A delivery of a hook belongs to no user.
    CHECK (source <> 'hook' OR owner = '')
);
INSERT INTO keys_with_sources SELECT * FROM idempotency_keys ORDER BY seq;

DROP TRIGGER idempotency_keys_of_actions;
DROP TABLE idempotency_keys;
ALTER TABLE keys_with_sources RENAME TO idempotency_keys;

-- The check for a used id reads the keys too, as they outlive the actions.
CREATE INDEX idempotency_keys_by_action ON idempotency_keys (action_id);

-- Added in the commit of the action. A second action with the same key fails here.
-- The age of a key is measured by the agent's clock, as created_ts of an action may be the caller's.
CREATE TRIGGER idempotency_keys_of_actions AFTER INSERT ON actions
WHEN NEW.idempotency_key IS NOT NULL OR NEW.requester = 'HOOK'
BEGIN
    INSERT INTO idempotency_keys (source, owner, key, action_id, fingerprint, created_ts)
    VALUES (CASE NEW.requester WHEN 'HOOK' THEN 'hook' ELSE ifnull(NEW.key_source, 'caller') END,
            CASE NEW.requester WHEN 'HOOK' THEN '' ELSE NEW.user END,
            NEW.idempotency_key, NEW.id, NEW.fingerprint, NEW.scheduled_ts);
END;

CREATE TRIGGER idempotency_keys_never_change BEFORE UPDATE ON idempotency_keys
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key never changes');
END;

DROP TRIGGER events_of_scheduled;
CREATE TRIGGER events_of_scheduled AFTER INSERT ON actions
BEGIN
    INSERT INTO new_events (timestamp, event, user, requester, kind, action_id, details)
    SELECT NEW.scheduled_ts, 'action.scheduled', NEW.user, NEW.requester, NEW.kind, NEW.id,
           CASE WHEN NEW.core_requester IS NULL THEN details
                ELSE json_insert(details, '$.core_requester', NEW.core_requester) END
    FROM (SELECT json_object('async_action_id', NEW.seq,
                             'args', CASE WHEN length(NEW.args) <= 4096 THEN json(NEW.args)
                                          ELSE json_object('left_out', json_object('bytes', length(NEW.args))) END)
          AS details);
END;
