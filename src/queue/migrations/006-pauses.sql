-- What people have stopped for a while (pauses.ts): it takes messages, and nothing of it is delivered until somebody
-- says so.
CREATE TABLE pauses (
  kind   TEXT    NOT NULL CHECK (kind IN ('flow', 'target', 'device')),
  name   TEXT    NOT NULL,
  -- Wall clock.
  at     INTEGER NOT NULL,
  who    TEXT    NOT NULL,
  reason TEXT    NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
