-- Classes 0, 1 and 5 (stamped, bare, rewritten) have a time; the others are shown apart and not judged.
SELECT stage, n, acked, failed, f_in, f_acked, f_failed, last_ms, rule_min, rule_max, width_ms, CASE class WHEN 0 THEN 1 ELSE 0 END, first_ms
FROM stage_window
WHERE topic = ?1 AND window_ms >= ?2 AND window_ms < ?3 AND class IN (0, 1, 5)
