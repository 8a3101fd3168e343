SELECT id, host, watermark_ms, last_append_ms, last_sent_ms, ended, coalesce(audited_since_ms, first_append_ms), heap
FROM reporter
WHERE stage = ?1 AND last_append_ms >= ?2
ORDER BY watermark_ms, host
