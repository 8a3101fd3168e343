SELECT t.text, f.text, d.text, h.verdict, count(*), sum(h.missing_min), sum(h.surplus_min), sum(h.delayed)
FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
WHERE h.verdict <> 'ok' AND h.window_ms >= ?1
GROUP BY t.text, h.hop, f.text, d.text, h.verdict
ORDER BY t.text, h.hop, h.verdict
