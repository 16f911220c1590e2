-- The identities that approved actions are lost. An action that waits for its approval would start without one.
CREATE TABLE refused (
    actions INTEGER CONSTRAINT "actions wait for an approval, which the earlier schema does not know: cancel them"
        CHECK (actions = 0)
);
INSERT INTO refused
SELECT count(*) FROM actions WHERE finished_ts IS NULL AND state = 'NEW' AND needs_approval AND approved_by IS NULL;
DROP TABLE refused;
DROP TRIGGER actions_approved_once_by_another;
DROP TRIGGER actions_start_approved;
ALTER TABLE actions DROP COLUMN needs_approval;
ALTER TABLE actions DROP COLUMN approved_by;
