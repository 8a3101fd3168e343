SELECT hop, width_ms, verdict, missing_min, surplus_min, delayed, caveats, why, settled_ms, settled_verdict,
       settled_missing, settled_surplus, passed_ms, amendments
FROM hop_window
WHERE topic = ?1 AND window_ms = ?2 AND from_stage = ?3 AND to_stage = ?4
