-- SQLite's planner does not see by itself that the index of what is not ok holds all of these.
SELECT topic, window_ms, width_ms
FROM hop_window INDEXED BY hop_window_trouble --lite
--pg FROM hop_window
WHERE verdict = 'no_report' AND verdict <> 'ok' AND (from_stage = ?1 OR to_stage = ?1)
--pg UNION SELECT topic, window_ms, width_ms FROM pending
