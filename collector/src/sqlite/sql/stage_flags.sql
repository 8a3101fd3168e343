-- An overflow slot may hold messages of any topic.
SELECT DISTINCT kind
FROM stage_flag
WHERE stage = ?1 AND (kind = 'overflow' OR topic = ?2) AND from_ms < ?4 AND to_ms > ?3
