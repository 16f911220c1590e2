-- The ids of requests and their traces are lost.
ALTER TABLE actions DROP COLUMN x_request_id;
ALTER TABLE actions DROP COLUMN traceparent;
