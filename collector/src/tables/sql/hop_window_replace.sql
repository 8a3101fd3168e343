INSERT INTO hop_window
    (topic, window_ms, from_stage, to_stage, hop, width_ms, verdict, missing_min, surplus_min, delayed, caveats, why,
     settled_ms, settled_verdict, settled_missing, settled_surplus, passed_ms, amendments)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
ON CONFLICT (topic, window_ms, from_stage, to_stage) DO UPDATE
SET hop = excluded.hop, width_ms = excluded.width_ms, verdict = excluded.verdict,
    missing_min = excluded.missing_min, surplus_min = excluded.surplus_min, delayed = excluded.delayed,
    caveats = excluded.caveats, why = excluded.why, settled_ms = excluded.settled_ms,
    settled_verdict = excluded.settled_verdict, settled_missing = excluded.settled_missing,
    settled_surplus = excluded.settled_surplus, passed_ms = excluded.passed_ms, amendments = excluded.amendments
