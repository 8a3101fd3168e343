SELECT t.text, s.text, w.window_ms, w.level_ms, w.n, w.acked, w.failed, w.bytes, w.f_in, w.hist, w.last_ms, w.rule_min, w.rule_max
FROM stage_level w
JOIN name t ON t.id = w.topic
JOIN name s ON s.id = w.stage
WHERE w.level_ms = ?1 AND w.window_ms >= ?2 AND w.window_ms < ?3 AND w.class IN (0, 1, 5) AND w.topic = ?5
ORDER BY w.window_ms DESC
LIMIT ?4
