SELECT o.reporter, CAST(sum(o.unreported) AS BIGINT), r.ended, r.last_append_ms, r.lost_ms
FROM open_window o
JOIN reporter r ON r.id = o.reporter
WHERE o.topic = ?1 AND o.window_ms >= ?2 AND o.window_ms < ?3 AND o.stage = ?4
GROUP BY o.reporter, r.ended, r.last_append_ms, r.lost_ms
