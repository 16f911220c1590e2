-- Counts of outcomes, waiting times and running times, so that a scrape of the metrics reads no actions for them.
-- Triggers write the rows, which stay when actions are pruned.

-- By kind and outcome; last_ts is the time of the newest one.
CREATE TABLE outcomes (
    kind    TEXT NOT NULL,
    outcome TEXT NOT NULL,
    count   INTEGER NOT NULL,
    last_ts INTEGER NOT NULL,
    PRIMARY KEY (kind, outcome)
) WITHOUT ROWID;
INSERT INTO outcomes
SELECT kind, outcome, count(*), max(finished_ts) FROM actions WHERE finished_ts IS NOT NULL GROUP BY kind, outcome;

CREATE TRIGGER outcomes_of_final AFTER UPDATE OF finished_ts ON actions
WHEN NEW.finished_ts IS NOT NULL
BEGIN
    INSERT INTO outcomes (kind, outcome, count, last_ts) VALUES (NEW.kind, NEW.outcome, 1, NEW.finished_ts)
    ON CONFLICT (kind, outcome) DO UPDATE SET count = count + 1, last_ts = excluded.last_ts;
END;

-- The upper bounds of the buckets of times, in microseconds; the last one has no bound.
CREATE TABLE time_bounds (
    upper INTEGER PRIMARY KEY
);
INSERT INTO time_bounds VALUES
    (100000), (500000), (1000000), (5000000), (15000000), (60000000), (300000000), (900000000), (3600000000),
    (14400000000), (86400000000), (9223372036854775807);

-- By measure and kind: the number of actions in the bucket, and the sum of their times. Empty until the first action
-- after this migration. If the clock was set back, the time counts as 0.
CREATE TABLE times (
    measure      TEXT NOT NULL CHECK (measure IN ('wait', 'run')),
    kind         TEXT NOT NULL,
    upper        INTEGER NOT NULL REFERENCES time_bounds (upper),
    count        INTEGER NOT NULL,
    microseconds INTEGER NOT NULL,
    PRIMARY KEY (measure, kind, upper)
) WITHOUT ROWID;

CREATE VIEW new_times AS SELECT measure, kind, microseconds FROM times;

CREATE TRIGGER new_times_are_added INSTEAD OF INSERT ON new_times
BEGIN
    INSERT INTO times (measure, kind, upper, count, microseconds)
    VALUES (NEW.measure, NEW.kind, (SELECT min(upper) FROM time_bounds WHERE upper >= NEW.microseconds),
            1, max(0, NEW.microseconds))
    ON CONFLICT (measure, kind, upper)
    DO UPDATE SET count = count + 1, microseconds = microseconds + excluded.microseconds;
END;

CREATE TRIGGER times_of_started AFTER UPDATE OF state ON actions
WHEN OLD.state = 'NEW' AND NEW.state = 'RUNNING'
BEGIN
    INSERT INTO new_times (measure, kind, microseconds) VALUES ('wait', NEW.kind, NEW.state_ts - NEW.scheduled_ts);
END;

-- The second line of the history is the start.
CREATE TRIGGER times_of_final AFTER UPDATE OF finished_ts ON actions
WHEN NEW.finished_ts IS NOT NULL AND OLD.state = 'RUNNING'
BEGIN
    INSERT INTO new_times (measure, kind, microseconds)
    SELECT 'run', NEW.kind, NEW.finished_ts - timestamp FROM history WHERE action_seq = NEW.seq AND version = 2;
END;
