SELECT t.text, f.text, d.text, h.verdict, count(*), CAST(sum(h.missing_min) AS BIGINT),
       CAST(sum(h.surplus_min) AS BIGINT), CAST(sum(h.delayed) AS BIGINT)
FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
WHERE h.verdict <> 'ok' AND h.window_ms >= ?1
GROUP BY t.text, h.hop, f.text, d.text, h.verdict
ORDER BY t.text, h.hop, h.verdict
