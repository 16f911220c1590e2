-- Keys are kept only as long as their actions. If two callers have the same key, creating the index fails.
DROP TRIGGER idempotency_keys_of_actions;
CREATE UNIQUE INDEX actions_idempotency ON actions (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery    TEXT NOT NULL UNIQUE,
    action_id   TEXT NOT NULL,
    received_ts INTEGER NOT NULL
);
INSERT INTO deliveries (delivery, action_id, received_ts)
SELECT key, action_id, created_ts FROM idempotency_keys WHERE owner = '' ORDER BY seq;
CREATE TRIGGER deliveries_of_hooks AFTER INSERT ON actions
WHEN NEW.requester = 'HOOK'
BEGIN
    INSERT INTO deliveries (delivery, action_id, received_ts) VALUES (NEW.idempotency_key, NEW.id, NEW.created_ts);
    DELETE FROM deliveries WHERE seq <= (SELECT max(seq) FROM deliveries) - 10000;
END;
DROP TABLE idempotency_keys;
ALTER TABLE actions DROP COLUMN fingerprint;
