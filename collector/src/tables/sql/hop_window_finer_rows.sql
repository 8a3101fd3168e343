SELECT topic, window_ms, from_stage, to_stage, width_ms, hop, verdict, missing_min, surplus_min, delayed, amendments
FROM hop_window
WHERE topic = ?1 AND window_ms > ?2 AND window_ms < ?3 AND from_stage = ?4 AND to_stage = ?5 AND width_ms < ?6
