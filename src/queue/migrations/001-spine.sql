-- The store. A message is one row; a delivery (a message on a flow) is one row in its lane's run of the
-- deliveries table, so that a lane is read in order without an index of its own.

-- One row per start of the gateway. `steady_at` is the steady clock (core/clock.ts), wall times are epoch ms.
CREATE TABLE boots (
  id            INTEGER PRIMARY KEY,
  boot          TEXT    NOT NULL UNIQUE,
  version       TEXT    NOT NULL,
  started_at    INTEGER NOT NULL,
  clock_trusted INTEGER NOT NULL CHECK (clock_trusted IN (0, 1)),
  -- Kept fresh while running: where the steady clock goes on after a restart, and until when we lived.
  seen_at       INTEGER NOT NULL,
  steady_at     INTEGER NOT NULL,
  stopped_clean INTEGER NOT NULL DEFAULT 0 CHECK (stopped_clean IN (0, 1))
) STRICT;

-- The highest sequence ever given, written when rows are pruned: a sequence is never used twice.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
  seq           INTEGER PRIMARY KEY,
  id            TEXT    NOT NULL UNIQUE,
  device        TEXT    NOT NULL,
  source        TEXT    NOT NULL,
  topic         TEXT    NOT NULL,
  payload       BLOB    NOT NULL,
  content_type  TEXT,
  qos           INTEGER NOT NULL CHECK (qos IN (0, 1, 2)),
  retain        INTEGER NOT NULL CHECK (retain IN (0, 1)),
  produced_at   INTEGER,
  accepted_at   INTEGER NOT NULL,
  -- The same moment on the steady clock: ages and expiry are counted from here.
  steady_at     INTEGER NOT NULL,
  boot          INTEGER NOT NULL REFERENCES boots (id),
  traceparent   TEXT,
  -- JSON object, or NULL for none.
  headers       TEXT,
  -- Suppressed duplicates of it.
  duplicates    INTEGER NOT NULL DEFAULT 0,
  -- JSON [[lane id, flow version id], …]: where its deliveries are. [] for an unrouted message.
  routes        TEXT    NOT NULL
) STRICT;

-- A flow as it was configured when it took its first message; `hash` tells versions of one flow apart.
CREATE TABLE flow_versions (
  id            INTEGER PRIMARY KEY,
  flow          TEXT    NOT NULL,
  hash          TEXT    NOT NULL,
  -- JSON, as `config print` shows it: secrets redacted.
  config        TEXT    NOT NULL,
  first_used_at INTEGER NOT NULL,
  UNIQUE (flow, hash)
) STRICT;

-- (flow, order key). `open` counts its deliveries that are waiting, sending or unknown; `head` is a lower
-- bound for the sequence of the oldest of them.
CREATE TABLE lanes (
  id   INTEGER PRIMARY KEY,
  flow TEXT    NOT NULL,
  key  TEXT    NOT NULL,
  head INTEGER NOT NULL,
  open INTEGER NOT NULL DEFAULT 0 CHECK (open >= 0),
  UNIQUE (flow, key)
) STRICT;
CREATE INDEX lanes_open ON lanes (flow, id) WHERE open > 0;

CREATE TABLE deliveries (
  lane       INTEGER NOT NULL REFERENCES lanes (id),
  seq        INTEGER NOT NULL REFERENCES messages (seq),
  state      TEXT    NOT NULL CHECK (state IN
    ('waiting', 'sending', 'unknown', 'delivered', 'dead', 'expired', 'evicted', 'discarded')),
  -- Tries that count against attemptsMax.
  attempts   INTEGER NOT NULL DEFAULT 0,
  late       INTEGER NOT NULL DEFAULT 0 CHECK (late IN (0, 1)),
  -- Set while an earlier try's answer is lost: the backend may have it already.
  resend     INTEGER NOT NULL DEFAULT 0 CHECK (resend IN (0, 1)),
  -- When it may next be tried, on the steady clock; NULL for at once.
  due_at     INTEGER CHECK (due_at IS NULL OR state IN ('waiting', 'unknown')),
  -- Wall clock of the last change of state.
  updated_at INTEGER NOT NULL,
  -- Why it is in this state, as told by the target or by us.
  reason     TEXT,
  PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;

-- Dead letters and held unknowns are few, and are listed and put back in the order of their sequence.
CREATE INDEX deliveries_dead ON deliveries (seq, lane) WHERE state IN ('dead', 'unknown');

-- Deliveries that are not simply next in their lane: tried and waiting for their time, or unknown. They are few
-- too, and a lane without order goes on past them.
CREATE INDEX deliveries_held_back ON deliveries (lane, due_at) WHERE due_at IS NOT NULL OR state = 'unknown';

-- What happened to a message besides being accepted and delivered at the first try (those two are in the
-- rows above). `lane` is NULL where it concerns the message itself, such as a suppressed duplicate.
CREATE TABLE history (
  id     INTEGER PRIMARY KEY,
  seq    INTEGER NOT NULL,
  lane   INTEGER,
  at     INTEGER NOT NULL,
  kind   TEXT    NOT NULL,
  detail TEXT
) STRICT;
CREATE INDEX history_of_message ON history (seq, id);

-- Figures by flow, moved in the same commit as the rows they count; flow '' stands for the gateway's door.
-- `what` is a delivery state (how many are in it now, pruned ones included), or accepted, duplicate, late,
-- unrouted, dropped, refused (how many ever).
CREATE TABLE tally (
  flow TEXT    NOT NULL,
  what TEXT    NOT NULL,
  n    INTEGER NOT NULL,
  PRIMARY KEY (flow, what)
) STRICT, WITHOUT ROWID;

-- Rows that retention has removed, so that rows + pruned can be held against the tally at any time.
CREATE TABLE pruned (
  flow TEXT    NOT NULL,
  what TEXT    NOT NULL,
  n    INTEGER NOT NULL,
  PRIMARY KEY (flow, what)
) STRICT, WITHOUT ROWID;

-- Producers' own ids, kept for the window of their source.
CREATE TABLE identities (
  scope     TEXT    NOT NULL,
  key       TEXT    NOT NULL,
  seq       INTEGER NOT NULL,
  id        TEXT    NOT NULL,
  expire_at INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_expire ON identities (expire_at);

-- The last QoS 1 message under each packet id of each client, for a redelivery that carries DUP=1.
CREATE TABLE packet_ids (
  client    TEXT    NOT NULL,
  packet_id INTEGER NOT NULL CHECK (packet_id BETWEEN 1 AND 65535),
  digest    BLOB    NOT NULL,
  seq       INTEGER NOT NULL,
  id        TEXT    NOT NULL,
  expire_at INTEGER NOT NULL,
  PRIMARY KEY (client, packet_id)
) STRICT, WITHOUT ROWID;

-- State of MQTT sessions (core/session.ts): the store keeps it, broker/ knows what it means.
CREATE TABLE sessions (
  kind   TEXT NOT NULL CHECK (kind IN ('retained', 'subscription', 'outgoing', 'incoming', 'will')),
  client TEXT NOT NULL,
  key    TEXT NOT NULL,
  value  BLOB NOT NULL,
  PRIMARY KEY (kind, client, key)
) STRICT, WITHOUT ROWID;
