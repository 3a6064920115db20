-- The table of averages.toml: a row for each station and day.
CREATE TABLE averages (
    station text NOT NULL,
    start   bigint NOT NULL,               -- ms since the epoch
    avg_f   double precision,
    PRIMARY KEY (station, start)
);
