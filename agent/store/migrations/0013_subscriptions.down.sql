-- Lost: callbacks of all events but action.final, the choice of events, and the ends of subscriptions.
DROP TRIGGER outbox_of_events;
DROP TRIGGER actions_untold_never_deleted;
DROP INDEX outbox_of_action;
ALTER TABLE outbox RENAME TO undelivered;
CREATE TABLE outbox (
    receiver_id    INTEGER NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    finished_order INTEGER NOT NULL,
    since          REAL NOT NULL,
    PRIMARY KEY (receiver_id, finished_order)
) WITHOUT ROWID;
INSERT INTO outbox (receiver_id, finished_order, since)
SELECT receiver_id, finished_order, min(since) FROM undelivered JOIN actions ON actions.seq = action_seq
WHERE event = 'action.final' GROUP BY receiver_id, finished_order;
DROP TABLE undelivered;
DROP TABLE subscriptions;
ALTER TABLE receivers DROP COLUMN failure;
ALTER TABLE receivers DROP COLUMN ended;
ALTER TABLE actions DROP COLUMN announced_hold;
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
