SELECT log, n, min_offset, max_offset
FROM tap_window
WHERE topic = ?1 AND window_ms = ?2 AND stage = ?3 AND partition = ?4 AND width_ms = ?5
