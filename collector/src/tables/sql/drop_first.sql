SELECT (SELECT min(window_ms) FROM stage_window WHERE window_ms >= ?1),
       (SELECT min(window_ms) FROM hop_window WHERE window_ms >= ?1),
       (SELECT min(window_ms) FROM stage_level WHERE level_ms = ?2 AND window_ms >= ?1),
       (SELECT min(window_ms) FROM hop_level WHERE level_ms = ?2 AND window_ms >= ?1)
