-- The newest range of the partition goes on: read under the same claim, and near.
UPDATE unaudited
SET to_offset = ?8, from_event_ms = CASE WHEN from_event_ms <= ?9 THEN from_event_ms WHEN from_event_ms > ?9 THEN ?9 END,
    to_event_ms = CASE WHEN to_event_ms > ?10 THEN to_event_ms ELSE ?10 END
WHERE id = (SELECT max(id) FROM unaudited WHERE stage = ?1 AND topic = ?2 AND partition = ?3)
  AND log = ?4 AND cause = ?5 AND from_offset >= ?6 AND to_offset > ?7
