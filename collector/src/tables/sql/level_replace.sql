INSERT INTO stage_level
    (topic, window_ms, stage, class, level_ms, rule_min, rule_max, n, acked, failed, bytes, f_in, f_acked, f_failed,
     hist, min_ms, max_ms, last_ms, first_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
ON CONFLICT (topic, level_ms, window_ms, stage, class) DO UPDATE
SET rule_min = excluded.rule_min, rule_max = excluded.rule_max, n = excluded.n, acked = excluded.acked,
    failed = excluded.failed, bytes = excluded.bytes, f_in = excluded.f_in, f_acked = excluded.f_acked,
    f_failed = excluded.f_failed, hist = excluded.hist, min_ms = excluded.min_ms, max_ms = excluded.max_ms,
    last_ms = excluded.last_ms, first_ms = excluded.first_ms
