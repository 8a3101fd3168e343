-- Few windows are wide: there is an index of those.
SELECT h.topic, t.text, f.text, d.text, max(h.hop), h.verdict, CAST(sum(h.missing_min) AS BIGINT),
       CAST(sum(h.surplus_min) AS BIGINT), CAST(sum(h.delayed) AS BIGINT)
FROM hop_window h INDEXED BY hop_window_wide_by_time --lite
--pg FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
WHERE h.width_ms > 10000 AND h.width_ms >= ?1 AND h.window_ms >= ?2 AND h.window_ms < ?3
GROUP BY h.topic, t.text, f.text, d.text, h.verdict
