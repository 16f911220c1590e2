-- Delivered pushes, and the receivers of callbacks.

-- The deliveries of hooks, so that none is accepted twice: a trigger adds them with their action; the newest 10,000 are
-- kept, longer than the actions. The key of a hook's action identifies the delivery.
CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery    TEXT NOT NULL UNIQUE,
    action_id   TEXT NOT NULL,
    received_ts INTEGER NOT NULL
);

CREATE TRIGGER deliveries_of_hooks AFTER INSERT ON actions
WHEN NEW.requester = 'HOOK'
BEGIN
    INSERT INTO deliveries (delivery, action_id, received_ts) VALUES (NEW.idempotency_key, NEW.id, NEW.created_ts);
    DELETE FROM deliveries WHERE seq <= (SELECT max(seq) FROM deliveries) - 10000;
END;

-- The receivers of every final action, as in the configuration that an executor read last. A receiver has its own clock,
-- which runs only while it is unreachable: waited is its time in seconds, pause the seconds until the next attempt.
CREATE TABLE receivers (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    url    TEXT NOT NULL UNIQUE,
    waited REAL NOT NULL DEFAULT 0,
    pause  REAL NOT NULL DEFAULT 0
);

-- Undelivered callbacks, in the order in which actions became final; since is a time of the receiver's clock.
CREATE TABLE outbox (
    receiver_id    INTEGER NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    finished_order INTEGER NOT NULL,
    since          REAL NOT NULL,
    PRIMARY KEY (receiver_id, finished_order)
) WITHOUT ROWID;

-- A trigger adds them when an action becomes final, so that none is missing.
CREATE TRIGGER outbox_of_final AFTER UPDATE OF finished_ts ON actions
WHEN NEW.finished_ts IS NOT NULL
BEGIN
    INSERT INTO outbox (receiver_id, finished_order, since)
    SELECT id, NEW.finished_order, waited + pause FROM receivers;
END;

CREATE TRIGGER actions_untold_never_deleted BEFORE DELETE ON actions
WHEN EXISTS (
    SELECT 1 FROM receivers CROSS JOIN outbox
    ON outbox.receiver_id = receivers.id AND outbox.finished_order = OLD.finished_order)
BEGIN
    SELECT RAISE(ABORT, 'an action with an undelivered callback is never deleted');
END;
