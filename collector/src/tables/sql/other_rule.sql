-- Whatever the window or the class: what has one time by one rule has another, or none, by another.
SELECT 1 FROM stage_rule
WHERE topic = ?1 AND stage = ?2 AND rule <> ?3 AND last_ms >= ?4 AND first_ms <= ?5
LIMIT 1
