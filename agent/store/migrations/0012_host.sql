-- Where and when an agent used this file last, and which schemas it had. Only adds.

-- ids: the machine's, those that can be read. boot: the id of its boot. An older copy of the file, or one of another
-- machine, is found by them when an agent starts to run the queue.
CREATE TABLE host (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    ids      TEXT NOT NULL CHECK (json_valid(ids)),
    boot     TEXT NOT NULL,
    seen_ts  INTEGER NOT NULL
);

-- needs: agents that know this schema may use the file, even if the file has a later schema.
CREATE TABLE schemas (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    needs      INTEGER NOT NULL CHECK (needs <= number),
    applied_ts INTEGER NOT NULL
);
