-- Messages that are carried from one box to another (exports.ts, imports.ts).

CREATE TABLE exports (
  number    INTEGER PRIMARY KEY,
  id        TEXT    NOT NULL UNIQUE,
  -- holding: it is being said which are held. moved, cancelled: told so; deliveries may be left for further steps.
  state     TEXT    NOT NULL CHECK (state IN ('holding', 'held', 'copied', 'moved', 'cancelled')),
  -- JSON object (core/export-file.ts).
  selection TEXT    NOT NULL,
  until_seq INTEGER NOT NULL,
  who       TEXT    NOT NULL,
  reason    TEXT,
  -- Wall clock, and the steady clock of the same moment.
  at        INTEGER NOT NULL,
  steady_at INTEGER NOT NULL,
  ended_at  INTEGER,
  -- Messages in its file, and the sum of the file's end; NULL while that is not known.
  messages  INTEGER,
  sum       TEXT,
  -- JSON: the receipt of the box that has them.
  receipt   TEXT
) STRICT;

-- The export that it is held for: it is not sent, does not expire and is nobody's to repair.
ALTER TABLE deliveries ADD COLUMN export INTEGER;
CREATE INDEX deliveries_exported ON deliveries (export, seq, lane) WHERE export IS NOT NULL;

CREATE TABLE imports (
  number   INTEGER PRIMARY KEY,
  export   TEXT    NOT NULL UNIQUE,
  state    TEXT    NOT NULL CHECK (state IN ('running', 'finished')),
  -- The first line and the last one of the file.
  head     TEXT    NOT NULL,
  total    INTEGER NOT NULL,
  sum      TEXT    NOT NULL,
  -- The flow that is to have all of them; NULL for each its own.
  into_flow TEXT,
  who      TEXT    NOT NULL,
  reason   TEXT,
  at       INTEGER NOT NULL,
  ended_at INTEGER,
  -- Lines taken, and the sum of theirs: where it goes on.
  taken    INTEGER NOT NULL DEFAULT 0,
  chain    TEXT    NOT NULL,
  -- Messages that are new here, and deliveries; messages that were here already.
  stored   INTEGER NOT NULL DEFAULT 0,
  added    INTEGER NOT NULL DEFAULT 0,
  known    INTEGER NOT NULL DEFAULT 0,
  -- JSON array of {id, why}: messages that were not taken.
  left     TEXT    NOT NULL DEFAULT '[]'
) STRICT;

-- The import that brought it.
ALTER TABLE messages ADD COLUMN import INTEGER;
