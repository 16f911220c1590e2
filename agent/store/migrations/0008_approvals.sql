-- Actions that wait for the approval of another identity. The approval also lets an action start outside of its window.

ALTER TABLE actions ADD COLUMN needs_approval INTEGER NOT NULL DEFAULT 0 CHECK (needs_approval IN (0, 1));
ALTER TABLE actions ADD COLUMN approved_by TEXT;

CREATE TRIGGER actions_approved_once_by_another BEFORE UPDATE OF approved_by ON actions
WHEN OLD.approved_by IS NOT NULL OR NEW.approved_by IS OLD.user OR OLD.state <> 'NEW'
BEGIN
    SELECT RAISE(ABORT, 'an action is approved once, by another than its user, before it starts');
END;
CREATE TRIGGER actions_start_approved BEFORE UPDATE OF state ON actions
WHEN NEW.state = 'RUNNING' AND OLD.state = 'NEW' AND OLD.needs_approval AND OLD.approved_by IS NULL
BEGIN
    SELECT RAISE(ABORT, 'an action that needs an approval does not start without');
END;
