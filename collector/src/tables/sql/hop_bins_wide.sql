-- Few windows are wide: there is an index of those.
SELECT h.topic, h.from_stage, h.to_stage, h.window_ms, h.width_ms, h.hop, h.verdict, h.missing_min,
       h.surplus_min, h.delayed, h.amendments
FROM hop_window h INDEXED BY hop_window_wide_by_time --lite
--pg FROM hop_window h
WHERE h.width_ms > 10000 AND h.width_ms >= ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3
ORDER BY h.window_ms DESC, h.topic, h.hop, h.from_stage
LIMIT ?4
