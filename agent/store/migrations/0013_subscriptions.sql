-- Callbacks of every event of an action, not only of its end; and the reason of a hold.

-- The last announced reason of a hold. Readers compute the present reason.
ALTER TABLE actions ADD COLUMN announced_hold TEXT;

-- failure: of the last attempt, null after a delivery. ended: the receiver answered 410.
ALTER TABLE receivers ADD COLUMN failure TEXT;
ALTER TABLE receivers ADD COLUMN ended INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1));

-- The events that a receiver gets; none after the end of its subscription.
CREATE TABLE subscriptions (
    event       TEXT NOT NULL,
    receiver_id INTEGER NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    PRIMARY KEY (event, receiver_id)
) WITHOUT ROWID;
INSERT INTO subscriptions SELECT 'action.final', id FROM receivers;

-- Undelivered callbacks, in the order of the events; since is a time of the receiver's clock. Without a reference to the
-- event, as the audit trail may be pruned before a receiver answers again.
CREATE TABLE undelivered (
    receiver_id INTEGER NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    event_id    INTEGER NOT NULL,
    event       TEXT NOT NULL,
    action_seq  INTEGER NOT NULL,
    held        TEXT,
    since       REAL NOT NULL,
    PRIMARY KEY (receiver_id, event_id)
) WITHOUT ROWID;

-- Callbacks from before this migration come first, in their order.
INSERT INTO undelivered (receiver_id, event_id, event, action_seq, since)
SELECT receiver_id, outbox.finished_order - 1 - (SELECT max(finished_order) FROM outbox), 'action.final', seq, since
FROM outbox JOIN actions ON actions.finished_order = outbox.finished_order;

DROP TRIGGER actions_untold_never_deleted;
DROP TRIGGER outbox_of_final;
DROP TABLE outbox;
ALTER TABLE undelivered RENAME TO outbox;
CREATE INDEX outbox_of_action ON outbox (action_seq);

-- A trigger adds them with each event, so that none is missing.
CREATE TRIGGER outbox_of_events AFTER INSERT ON events
WHEN NEW.action_id IS NOT NULL
BEGIN
    INSERT INTO outbox (receiver_id, event_id, event, action_seq, held, since)
    SELECT receivers.id, NEW.id, NEW.event, (SELECT seq FROM actions WHERE id = NEW.action_id),
           CASE WHEN NEW.event = 'action.held' THEN json_extract(NEW.details, '$.reason') END, waited + pause
    FROM subscriptions CROSS JOIN receivers ON receivers.id = subscriptions.receiver_id
    WHERE subscriptions.event = NEW.event;
END;

CREATE TRIGGER actions_untold_never_deleted BEFORE DELETE ON actions
WHEN EXISTS (SELECT 1 FROM outbox WHERE action_seq = OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'an action with an undelivered callback is never deleted');
END;
