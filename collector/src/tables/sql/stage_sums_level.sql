-- A level holds what was narrower; what is as wide was counted so.
SELECT stage, n, acked, failed, f_in, f_acked, f_failed, last_ms, rule_min, rule_max, level_ms, CASE class WHEN 0 THEN 1 ELSE 0 END, first_ms
FROM stage_level
WHERE topic = ?1 AND level_ms = ?4 AND window_ms >= ?2 AND window_ms < ?3 AND class IN (0, 1, 5)
UNION ALL
SELECT stage, n, acked, failed, f_in, f_acked, f_failed, last_ms, rule_min, rule_max, width_ms, CASE class WHEN 0 THEN 1 ELSE 0 END, first_ms
FROM stage_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND width_ms >= ?4 AND class IN (0, 1, 5)
