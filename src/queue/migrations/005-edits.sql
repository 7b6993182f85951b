-- What people changed in dead letters before they put them back (edits.ts). The message stays as it was accepted; what
-- its target is given on that flow is the newest of these. They leave with their message.
CREATE TABLE edits (
  id           INTEGER PRIMARY KEY,
  seq          INTEGER NOT NULL,
  lane         INTEGER NOT NULL,
  -- Wall clock.
  at           INTEGER NOT NULL,
  who          TEXT    NOT NULL,
  reason       TEXT    NOT NULL,
  -- All of it, changed or not.
  topic        TEXT    NOT NULL,
  payload      BLOB    NOT NULL,
  content_type TEXT,
  -- Checksum of the row, as messages have one.
  crc          INTEGER NOT NULL
) STRICT;
CREATE INDEX edits_of_message ON edits (seq, id);

-- The edit in effect; NULL where the message goes out as it was accepted.
ALTER TABLE deliveries ADD COLUMN edit INTEGER;
