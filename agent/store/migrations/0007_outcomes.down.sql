-- Outcomes and reasons are lost. An action with a time to start would start at once.
CREATE TABLE refused (
    actions INTEGER CONSTRAINT "actions wait for a time, which the earlier schema does not know: cancel them"
        CHECK (actions = 0)
);
INSERT INTO refused
SELECT count(*) FROM actions
WHERE finished_ts IS NULL AND state = 'NEW' AND (not_before IS NOT NULL OR not_after IS NOT NULL);
DROP TABLE refused;
DROP TRIGGER actions_end_with_an_outcome;
DROP INDEX actions_not_after;
ALTER TABLE actions DROP COLUMN outcome;
ALTER TABLE actions DROP COLUMN reason;
ALTER TABLE actions DROP COLUMN not_before;
ALTER TABLE actions DROP COLUMN not_after;
