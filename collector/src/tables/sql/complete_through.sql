-- The earliest window that is open, settling or not judged yet; else the end of the last one.
SELECT coalesce((SELECT min(window_ms) FROM pending WHERE topic = ?1 AND unsettled = 1),
                (SELECT window_ms + width_ms FROM hop_window WHERE topic = ?1 ORDER BY window_ms DESC LIMIT 1))
