-- The id of an action's request, and its place in a distributed trace. Only adds.

-- Both are null for older actions.
ALTER TABLE actions ADD COLUMN x_request_id TEXT;
ALTER TABLE actions ADD COLUMN traceparent TEXT;
