-- The queue and its history. The database enforces the promises of the protocol, also against bugs of the agent.

-- The resources of actions. The same type and name always have the same id: rows are never deleted.
CREATE TABLE resources (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (type, name)
);

-- Times are microseconds since the epoch and are not used for ordering: seq is the order of execution (and the
-- id of the AsyncAction, never reused), finished_order the order in which actions became final.
CREATE TABLE actions (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    kind             TEXT NOT NULL,
    args             TEXT NOT NULL CHECK (json_valid(args)),
    secrets          TEXT CHECK (secrets IS NULL OR json_valid(secrets)),
    headers          TEXT NOT NULL CHECK (json_valid(headers)),
    requester        TEXT NOT NULL CHECK (requester IN ('API', 'WEB', 'HOOK', 'CLI')),
    user             TEXT NOT NULL,
    user_reference   TEXT,
    resource_id      INTEGER NOT NULL REFERENCES resources (id),
    idempotency_key  TEXT,
    created_ts       INTEGER NOT NULL,
    scheduled_ts     INTEGER NOT NULL,

    state            TEXT NOT NULL CHECK (state IN ('NEW', 'RUNNING', 'DONE', 'FAILED')),
    state_payload    TEXT CHECK (state_payload IS NULL OR json_valid(state_payload)),
    state_ts         INTEGER NOT NULL,
    version          INTEGER NOT NULL DEFAULT 1,
    finished_ts      INTEGER,
    finished_order   INTEGER,
    finished_message TEXT,

    -- Of a running action only: when it was claimed, by a clock that is never set (seconds since
    -- the boot of that id), and what its executor must know after a restart.
    running_boot     TEXT,
    running_since    REAL,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    handed_over      INTEGER NOT NULL DEFAULT 0 CHECK (handed_over IN (0, 1)),

    CHECK ((state IN ('DONE', 'FAILED')) = (finished_ts IS NOT NULL)),
    CHECK ((finished_ts IS NULL) = (finished_order IS NULL)),
    CHECK (finished_ts IS NULL OR secrets IS NULL)
);

-- A key is unique among the actions that are kept.
CREATE UNIQUE INDEX actions_idempotency ON actions (idempotency_key) WHERE idempotency_key IS NOT NULL;
-- The database enforces that one action runs at a time.
CREATE UNIQUE INDEX actions_one_running ON actions (state) WHERE state = 'RUNNING';
CREATE INDEX actions_pending ON actions (seq) WHERE finished_ts IS NULL;
CREATE INDEX actions_by_reference ON actions (user_reference, seq) WHERE user_reference IS NOT NULL;
CREATE UNIQUE INDEX actions_finished ON actions (finished_order) WHERE finished_order IS NOT NULL;

-- Every state of an action, by the number of the change that led to it.
CREATE TABLE history (
    action_seq    INTEGER NOT NULL REFERENCES actions (seq) ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    timestamp     INTEGER NOT NULL,
    state         TEXT NOT NULL,
    state_payload TEXT,
    PRIMARY KEY (action_seq, version)
) WITHOUT ROWID;

CREATE TRIGGER actions_begin_new BEFORE INSERT ON actions
WHEN NEW.state <> 'NEW' OR NEW.state_payload IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'an action begins as NEW, with no payload');
END;

CREATE TRIGGER actions_finished_never_change BEFORE UPDATE ON actions
WHEN OLD.finished_ts IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a finished action never changes');
END;

CREATE TRIGGER actions_transitions BEFORE UPDATE OF state ON actions
WHEN NEW.state = 'NEW' OR OLD.state NOT IN ('NEW', 'RUNNING')
BEGIN
    SELECT RAISE(ABORT, 'not a transition of the protocol');
END;

CREATE TRIGGER actions_pending_never_deleted BEFORE DELETE ON actions
WHEN OLD.finished_ts IS NULL
BEGIN
    SELECT RAISE(ABORT, 'an action that is queued or running is never deleted');
END;

-- Triggers write the history with each change of state, so that no line is missing.
CREATE TRIGGER history_begins AFTER INSERT ON actions
BEGIN
    INSERT INTO history (action_seq, version, timestamp, state, state_payload)
    VALUES (NEW.seq, NEW.version, NEW.state_ts, NEW.state, NEW.state_payload);
END;

CREATE TRIGGER history_goes_on AFTER UPDATE OF state, state_payload ON actions
BEGIN
    INSERT INTO history (action_seq, version, timestamp, state, state_payload)
    VALUES (NEW.seq, NEW.version, NEW.state_ts, NEW.state, NEW.state_payload);
END;

CREATE TRIGGER history_never_changes BEFORE UPDATE ON history
BEGIN
    SELECT RAISE(ABORT, 'history never changes');
END;

CREATE TRIGGER history_of_pending_never_deleted BEFORE DELETE ON history
WHEN EXISTS (SELECT 1 FROM actions WHERE seq = OLD.action_seq AND finished_ts IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'the history of an action that is queued or running is never deleted');
END;
