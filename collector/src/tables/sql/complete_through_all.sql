-- As complete_through.sql, of every topic that was ever judged.
SELECT p.topic,
       coalesce((SELECT min(q.window_ms) FROM pending q WHERE q.topic = p.topic AND q.unsettled = 1),
                (SELECT h.window_ms + h.width_ms FROM hop_window h WHERE h.topic = p.topic
                 ORDER BY h.window_ms DESC LIMIT 1))
FROM topic_pipeline p
