-- The counts and histograms of the metrics are lost.
DROP TRIGGER outcomes_of_final;
DROP TRIGGER times_of_started;
DROP TRIGGER times_of_final;
DROP VIEW new_times;
DROP TABLE times;
DROP TABLE time_bounds;
DROP TABLE outcomes;
