-- What people did to the gateway, in the commit in which they did it (acts.ts). Nothing in it can be changed, and
-- the newest 100,000 cannot be taken out.
CREATE TABLE acts (
  id     INTEGER PRIMARY KEY,
  -- Wall clock.
  at     INTEGER NOT NULL,
  -- Name of the token, or `local`.
  who    TEXT    NOT NULL,
  -- As the API calls the operation.
  what   TEXT    NOT NULL,
  -- JSON object: what it was asked to do, and what came of it.
  detail TEXT    NOT NULL,
  reason TEXT
) STRICT;

CREATE TRIGGER acts_stay BEFORE UPDATE ON acts
BEGIN
  SELECT RAISE(ABORT, 'acts are never changed');
END;
CREATE TRIGGER acts_are_kept BEFORE DELETE ON acts
WHEN OLD.id > (SELECT max(id) FROM acts) - 100000
BEGIN
  SELECT RAISE(ABORT, 'acts are kept');
END;
