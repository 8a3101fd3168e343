-- A row of nothing: what others add meanwhile is not written over.
INSERT INTO stage_level
    (topic, window_ms, stage, class, level_ms, rule_min, rule_max, n, acked, failed, bytes, f_in, f_acked, f_failed, hist)
VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 0, 0, 0, ?6, ?6, ?6, '-')
ON CONFLICT (topic, level_ms, window_ms, stage, class) DO NOTHING
