SELECT hop, n_ok, n_missing, n_surplus, n_re_read, n_mixed, n_unproven, n_partial, n_delayed, n_overdue,
       n_open, n_settling, n_no_report, n_uncertain, missing_min, surplus_min, delayed, amendments
FROM hop_level
WHERE topic = ?1 AND level_ms = ?2 AND window_ms = ?3 AND from_stage = ?4 AND to_stage = ?5
