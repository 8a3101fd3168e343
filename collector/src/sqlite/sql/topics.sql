SELECT h.topic, t.text, f.text, d.text, h.hop, h.verdict, sum(h.missing_min), sum(h.surplus_min), sum(h.delayed)
FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
WHERE h.window_ms >= ?1 AND h.window_ms < ?2
GROUP BY h.topic, h.from_stage, h.to_stage, h.verdict
