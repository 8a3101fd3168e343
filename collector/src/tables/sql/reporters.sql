SELECT r.incarnation, s.text, r.host, r.application, r.library, r.watermark_ms, r.last_append_ms, r.ended
FROM reporter r
JOIN name s ON s.id = r.stage
ORDER BY r.last_append_ms DESC, r.id DESC
LIMIT ?1
