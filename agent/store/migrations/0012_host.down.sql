-- Nothing that an action needs is lost.
DROP TABLE host;
DROP TABLE schemas;
