SELECT s.text, r.incarnation, r.host, r.application, r.datacenter, r.library, r.watermark_ms, r.last_append_ms, r.last_seq,
       r.known, r.ended
FROM reporter r
JOIN name s ON s.id = r.stage
WHERE r.id = ?1
