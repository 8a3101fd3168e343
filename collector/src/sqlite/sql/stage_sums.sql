-- Classes 0 and 1 (stamped, bare) have an event time; the others are shown apart and not judged.
SELECT stage, n, acked, failed, f_in, f_acked, f_failed, last_ms, rule_min, rule_max, width_ms
FROM stage_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND class <= 1
