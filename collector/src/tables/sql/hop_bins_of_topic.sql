SELECT h.topic, h.from_stage, h.to_stage, h.window_ms, h.level_ms, h.hop, h.n_ok, h.n_missing, h.n_surplus, h.n_re_read, h.n_mixed, h.n_unproven,
       h.n_partial, h.n_delayed, h.n_overdue, h.n_open, h.n_settling, h.n_no_report, h.n_uncertain, h.missing_min,
       h.surplus_min, h.delayed, h.amendments
FROM hop_level h
WHERE h.level_ms = ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.topic = ?5
ORDER BY h.window_ms DESC
LIMIT ?4
