INSERT INTO hop_level
    (topic, level_ms, window_ms, from_stage, to_stage, hop, n_ok, n_missing, n_surplus, n_re_read, n_mixed,
     n_unproven, n_partial, n_delayed, n_overdue, n_open, n_settling, n_no_report, n_uncertain, missing_min,
     surplus_min, delayed, amendments)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
        ?23)
ON CONFLICT (level_ms, window_ms, topic, from_stage, to_stage) DO UPDATE
SET hop = excluded.hop, n_ok = excluded.n_ok, n_missing = excluded.n_missing, n_surplus = excluded.n_surplus,
    n_re_read = excluded.n_re_read, n_mixed = excluded.n_mixed, n_unproven = excluded.n_unproven, n_partial =
    excluded.n_partial, n_delayed = excluded.n_delayed, n_overdue = excluded.n_overdue, n_open =
    excluded.n_open, n_settling = excluded.n_settling, n_no_report = excluded.n_no_report, n_uncertain =
    excluded.n_uncertain, missing_min = excluded.missing_min, surplus_min = excluded.surplus_min, delayed =
    excluded.delayed, amendments = excluded.amendments
