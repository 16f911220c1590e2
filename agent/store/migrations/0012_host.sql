-- The machine and the time of the last use of this file, and its schemas. Only adds.

-- ids: the readable ids of the machine. boot: the id of its boot. By these, an agent that starts to run the queue
-- recognizes an older copy of the file, or a file of another machine.
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
