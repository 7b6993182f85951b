-- Jobs: what is done to many deliveries in small steps (jobs.ts). A step moves its rows and its job's place in one
-- commit, so that a restart goes on where the last commit was.
CREATE TABLE jobs (
  id         INTEGER PRIMARY KEY,
  kind       TEXT    NOT NULL CHECK (kind IN ('redrive', 'replay')),
  state      TEXT    NOT NULL CHECK (state IN ('running', 'paused', 'finished', 'cancelled', 'failed')),
  -- JSON object: what it takes (jobs.ts, JobSelection).
  selection  TEXT    NOT NULL,
  -- Deliveries a second.
  rate       REAL    NOT NULL CHECK (rate > 0),
  who        TEXT    NOT NULL,
  reason     TEXT,
  -- As estimated at the start; NULL where that was given up.
  total      INTEGER,
  done       INTEGER NOT NULL DEFAULT 0,
  -- Found and left alone: they were in another state by then.
  skipped    INTEGER NOT NULL DEFAULT 0,
  -- Messages up to here are through; those after `until_seq` came later than the job.
  at_seq     INTEGER NOT NULL DEFAULT 0,
  until_seq  INTEGER NOT NULL,
  -- Wall clock.
  started_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  ended_at   INTEGER CHECK (ended_at IS NULL OR state IN ('finished', 'cancelled', 'failed')),
  -- Why it failed.
  error      TEXT
) STRICT;
CREATE INDEX jobs_open ON jobs (id) WHERE state IN ('running', 'paused');

-- The messages that an open job was named one by one.
CREATE TABLE job_messages (
  job INTEGER NOT NULL REFERENCES jobs (id),
  seq INTEGER NOT NULL,
  PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

-- The job that had it delivered again, or on this flow as well; NULL for one that is here by itself.
ALTER TABLE deliveries ADD COLUMN replay INTEGER;
