-- Hops as of the last window of each topic; complete through the earliest window that is not settled there.
SELECT t.text, f.text, d.text,
       coalesce((SELECT min(q.window_ms)
                 FROM pending q
                 LEFT JOIN hop_window s ON s.topic = q.topic AND s.window_ms = q.window_ms
                                       AND s.from_stage = h.from_stage AND s.to_stage = h.to_stage
                 WHERE q.topic = h.topic AND q.unsettled = 1 AND coalesce(s.settled, 0) = 0),
                h.window_ms + h.width_ms)
FROM topic_pipeline p
JOIN hop_window h ON h.topic = p.topic
                 AND h.window_ms = (SELECT max(x.window_ms) FROM hop_window x WHERE x.topic = p.topic)
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
ORDER BY t.text, h.hop
LIMIT ?1
