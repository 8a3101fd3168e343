INSERT OR REPLACE INTO hop_window
    (topic, window_ms, from_stage, to_stage, hop, width_ms, verdict, missing_min, surplus_min, delayed, caveats, why,
     settled_ms, settled_verdict, settled_missing, settled_surplus, passed_ms, amendments)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
