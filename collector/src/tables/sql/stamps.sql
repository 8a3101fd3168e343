SELECT 1 FROM stage_window
WHERE topic = ?1 AND stage = ?2 AND window_ms >= ?3 AND window_ms <= ?4 AND class = 0 AND n > 0
LIMIT 1
