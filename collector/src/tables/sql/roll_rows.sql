SELECT rule_min, rule_max, n, acked, failed, bytes, f_in, f_acked, f_failed, hist, min_ms, max_ms, last_ms, first_ms,
       stage, class, width_ms, window_ms
FROM stage_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3
