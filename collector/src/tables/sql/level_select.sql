SELECT rule_min, rule_max, n, acked, failed, bytes, f_in, f_acked, f_failed, hist, min_ms, max_ms, last_ms, first_ms
FROM stage_level
WHERE topic = ?1 AND window_ms = ?2 AND stage = ?3 AND class = ?4 AND level_ms = ?5
--pg FOR UPDATE
