DELETE FROM open_window WHERE topic = ?1 AND window_ms = ?2 AND stage = ?3 AND reporter = ?4 AND width_ms = ?5
