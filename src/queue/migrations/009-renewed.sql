-- When a person put it back in line: its flow's ttl counts from there (steady clock); NULL for one that nobody put back.
ALTER TABLE deliveries ADD COLUMN renewed_at INTEGER;
