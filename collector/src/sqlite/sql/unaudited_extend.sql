-- The newest range of the partition goes on: read under the same claim, and near.
UPDATE unaudited
SET to_offset = ?8, from_event_ms = min(from_event_ms, ?9), to_event_ms = max(coalesce(to_event_ms, ?10), ?10)
WHERE id = (SELECT max(id) FROM unaudited WHERE stage = ?1 AND topic = ?2 AND partition = ?3)
  AND log = ?4 AND cause = ?5 AND from_offset >= ?6 AND to_offset > ?7
