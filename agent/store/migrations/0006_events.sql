-- The audit trail: who did what, kept longer than the actions. Each event holds the hash of the event before it.

-- chained() is a function of the agent: agent/store/audit_chain.py. A change of an action by another program fails.
CREATE TABLE events (
    id        INTEGER PRIMARY KEY,
    timestamp INTEGER NOT NULL,
    event     TEXT NOT NULL,
    user      TEXT,
    requester TEXT,
    kind      TEXT,
    action_id TEXT,
    details   TEXT NOT NULL CHECK (json_valid(details)),
    previous  TEXT NOT NULL,
    hash      TEXT NOT NULL
);

-- There is always a newest event: the next one continues from it.
INSERT INTO events (id, timestamp, event, details, previous, hash)
SELECT 1, now, 'audit.begun', '{}', '', chained('', 1, now, 'audit.begun', NULL, NULL, NULL, NULL, '{}')
FROM (SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000000 AS now);

CREATE TRIGGER events_never_change BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'an event never changes');
END;

CREATE TRIGGER events_end_at_the_oldest BEFORE DELETE ON events
WHEN EXISTS (SELECT 1 FROM events WHERE id < OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'only the oldest event is deleted');
END;

CREATE TRIGGER events_newest_never_deleted BEFORE DELETE ON events
WHEN NOT EXISTS (SELECT 1 FROM events WHERE id > OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'the newest event is never deleted');
END;

-- Events are added to this view, whose trigger sets the number and the place in the chain.
CREATE VIEW new_events AS SELECT timestamp, event, user, requester, kind, action_id, details FROM events;

CREATE TRIGGER new_events_are_chained INSTEAD OF INSERT ON new_events
BEGIN
    INSERT INTO events (id, timestamp, event, user, requester, kind, action_id, details, previous, hash)
    SELECT id + 1, NEW.timestamp, NEW.event, NEW.user, NEW.requester, NEW.kind, NEW.action_id, NEW.details, hash,
           chained(hash, id + 1, NEW.timestamp, NEW.event, NEW.user, NEW.requester, NEW.kind, NEW.action_id, NEW.details)
    FROM events ORDER BY id DESC LIMIT 1;
END;

-- Arguments are stored with their secrets masked; long ones are left out.
CREATE TRIGGER events_of_scheduled AFTER INSERT ON actions
BEGIN
    INSERT INTO new_events (timestamp, event, user, requester, kind, action_id, details)
    VALUES (NEW.scheduled_ts, 'action.scheduled', NEW.user, NEW.requester, NEW.kind, NEW.id,
            json_object('async_action_id', NEW.seq,
                        'args', CASE WHEN length(NEW.args) <= 4096 THEN json(NEW.args)
                                     ELSE json_object('left_out', json_object('bytes', length(NEW.args))) END));
END;

CREATE TRIGGER events_of_started AFTER UPDATE OF state ON actions
WHEN OLD.state = 'NEW' AND NEW.state = 'RUNNING'
BEGIN
    INSERT INTO new_events (timestamp, event, user, requester, kind, action_id, details)
    VALUES (NEW.state_ts, 'action.started', NEW.user, NEW.requester, NEW.kind, NEW.id, '{}');
END;

CREATE TRIGGER events_of_final AFTER UPDATE OF finished_ts ON actions
WHEN NEW.finished_ts IS NOT NULL
BEGIN
    INSERT INTO new_events (timestamp, event, user, requester, kind, action_id, details)
    VALUES (NEW.finished_ts, 'action.final', NEW.user, NEW.requester, NEW.kind, NEW.id,
            json_object('state', NEW.state, 'message', substr(NEW.finished_message, 1, 1000)));
END;
