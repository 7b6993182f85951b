-- Commands: messages whose flow's target is a device (core/command-message.ts).

-- Until when it may be carried out, on the steady clock; NULL for no time of its own.
ALTER TABLE deliveries ADD COLUMN expire_at INTEGER;
CREATE INDEX deliveries_expiring ON deliveries (expire_at) WHERE expire_at IS NOT NULL AND state = 'waiting';

-- The audit trail: every command, by whom, when, and what came of it, in the commit in which it came about. It
-- outlives the messages, and nothing in it can be changed or taken out, but what is older than the trail is kept
-- (queue.trail): that is put on record in `meta` first.
CREATE TABLE audit_trail (
  id        INTEGER PRIMARY KEY,
  -- Wall clock and steady clock.
  at        INTEGER NOT NULL,
  steady_at INTEGER NOT NULL,
  event     TEXT    NOT NULL CHECK (event IN ('refused', 'queued', 'sent', 'acknowledged', 'verified', 'failed',
                                              'expired', 'unknown', 'cancelled')),
  -- Id of the command's message; NULL for one that was refused at the door.
  command   TEXT    CHECK (command IS NOT NULL OR event = 'refused'),
  -- As asked for; NULL where what was asked could not be read.
  device    TEXT,
  signal    TEXT,
  -- JSON.
  value     TEXT,
  door      TEXT    NOT NULL,
  by        TEXT    NOT NULL,
  detail    TEXT
) STRICT;
CREATE INDEX audit_trail_of_command ON audit_trail (command, id) WHERE command IS NOT NULL;

CREATE TRIGGER audit_trail_stays BEFORE UPDATE ON audit_trail
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_trail_is_kept BEFORE DELETE ON audit_trail
WHEN OLD.id > coalesce((SELECT value FROM meta WHERE key = 'audit_trail_released'), 0)
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is append-only');
END;
