-- Of every class: what has no time by one rule may have one by another.
SELECT 1 FROM stage_window
WHERE topic = ?1 AND stage = ?2 AND window_ms >= ?3 AND window_ms <= ?4 AND (rule_min <> ?5 OR rule_max <> ?5)
LIMIT 1
