-- Few windows are wide: there is an index of those.
SELECT h.topic, h.from_stage, h.to_stage, h.hop, h.missing_min, h.surplus_min, h.delayed, h.verdict --lite
--pg SELECT h.topic, h.from_stage, h.to_stage, max(h.hop), CAST(sum(h.missing_min) AS BIGINT),
--pg        CAST(sum(h.surplus_min) AS BIGINT), CAST(sum(h.delayed) AS BIGINT), h.verdict
FROM hop_window h INDEXED BY hop_window_wide --lite
--pg FROM hop_window h
WHERE h.width_ms > 10000 AND h.width_ms >= ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3 AND h.topic = ?4
--pg GROUP BY h.topic, h.from_stage, h.to_stage, h.verdict
