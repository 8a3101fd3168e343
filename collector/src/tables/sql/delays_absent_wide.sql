-- Few windows are wide: there is an index of those.
SELECT h.delayed, h.window_ms + h.width_ms
FROM hop_window h INDEXED BY hop_window_wide --lite
--pg FROM hop_window h
WHERE h.width_ms > 10000 AND h.topic = ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.width_ms >= ?4 AND h.delayed > 0
