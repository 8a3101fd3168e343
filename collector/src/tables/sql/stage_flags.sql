-- An overflow slot, and a record that was lost, may hold messages of any topic; grace is taken off where what is known
-- is a watermark.
SELECT DISTINCT kind
FROM stage_flag
WHERE stage = ?1 AND (kind IN ('overflow', 'audit_lost') OR topic = ?2)
  AND from_ms - CASE kind WHEN 'audit_lost' THEN CAST(?5 AS BIGINT) ELSE 0 END < ?4 AND to_ms > ?3
