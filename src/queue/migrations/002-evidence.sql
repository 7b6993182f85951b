-- What a damaged store can be told by.

-- Commits of the store, ever, as of this start's last one: the mark beside the store (mark.ts) says how many were
-- answered, so that a log that was cut off or deleted is noticed.
ALTER TABLE boots ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;

-- Checksum of the row's content (append.ts): SQLite has none of its own, so a bit that flips in a payload would
-- otherwise be delivered as if the machine had sent it. NULL for messages from before there was one.
ALTER TABLE messages ADD COLUMN crc INTEGER;

-- Messages that were acknowledged and of which damage has left no more than this. The row in `messages` under the
-- same sequence stands in for one, with an empty payload.
CREATE TABLE lost (
  seq INTEGER PRIMARY KEY,
  -- The message's own id, where it is known.
  id  TEXT,
  -- Wall clock of when it was found out.
  at  INTEGER NOT NULL
) STRICT;
