-- Few windows are wide: there is an index of those.
SELECT t.text, s.text, w.window_ms, w.width_ms, w.n, w.acked, w.failed, w.bytes, w.f_in, w.hist, w.last_ms, w.rule_min, w.rule_max, w.topic
FROM stage_window w INDEXED BY stage_window_wide --lite
--pg FROM stage_window w
JOIN name t ON t.id = w.topic
JOIN name s ON s.id = w.stage
WHERE w.width_ms > 10000 AND w.window_ms >= ?1 AND w.window_ms < ?2 AND w.width_ms >= ?3 AND w.class IN (0, 1, 5) AND w.topic = ?4
