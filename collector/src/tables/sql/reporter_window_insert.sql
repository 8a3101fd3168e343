INSERT INTO reporter_window (topic, window_ms, reporter, width_ms, n, acked, failed, bytes, last_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
