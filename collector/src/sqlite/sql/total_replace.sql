INSERT OR REPLACE INTO stage_window
    (topic, window_ms, stage, class, width_ms, rule_min, rule_max, n, acked, failed, bytes, f_in, f_acked, f_failed,
     hist, min_ms, max_ms, last_ms, first_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
