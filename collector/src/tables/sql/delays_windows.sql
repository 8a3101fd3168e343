SELECT w.hist
FROM stage_window w
WHERE w.topic = ?1 AND w.window_ms >= ?2 AND w.window_ms < ?3 AND w.stage = ?4 AND w.class IN (0, 1, 5)
