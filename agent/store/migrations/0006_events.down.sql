-- The audit trail is lost.
DROP TRIGGER events_of_scheduled;
DROP TRIGGER events_of_started;
DROP TRIGGER events_of_final;
DROP VIEW new_events;
DROP TABLE events;
