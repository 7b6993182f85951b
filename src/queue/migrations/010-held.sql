-- How much each flow has held for exports is counted from now on, as its states are (tally: what = 'held').
INSERT INTO tally (flow, what, n)
  SELECT l.flow, 'held', count(*) FROM deliveries d INDEXED BY deliveries_exported JOIN lanes l ON l.id = d.lane
  WHERE d.export IS NOT NULL GROUP BY l.flow;
