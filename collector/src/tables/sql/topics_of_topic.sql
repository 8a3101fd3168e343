-- SQLite sorts for a GROUP BY, which costs more than adding up what it gives.
SELECT h.topic, h.from_stage, h.to_stage, h.hop, h.missing_min, h.surplus_min, h.delayed, h.verdict --lite
--pg SELECT h.topic, h.from_stage, h.to_stage, max(h.hop), CAST(sum(h.missing_min) AS BIGINT),
--pg        CAST(sum(h.surplus_min) AS BIGINT), CAST(sum(h.delayed) AS BIGINT), h.verdict
FROM hop_window h
WHERE h.window_ms >= ?1 AND h.window_ms < ?2 AND h.topic = ?3
--pg GROUP BY h.topic, h.from_stage, h.to_stage, h.verdict
