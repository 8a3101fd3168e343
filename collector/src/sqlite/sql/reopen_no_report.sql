-- The planner does not see by itself that the index of what is not ok holds all of these.
INSERT INTO pending (topic, window_ms, width_ms, due_ms, touched, unsettled)
SELECT DISTINCT topic, window_ms, width_ms, 0, 0, 1
FROM hop_window INDEXED BY hop_window_trouble
WHERE verdict = 'no_report' AND verdict <> 'ok' AND (from_stage = ?1 OR to_stage = ?1)
ON CONFLICT DO UPDATE SET due_ms = 0
