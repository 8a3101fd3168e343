SELECT r.incarnation, s.text, r.host, r.application, r.library, r.watermark_ms, r.last_append_ms, r.ended,
       r.first_append_ms, r.pid, r.datacenter,
       CASE WHEN r.skew_before_ms < r.skew_ms THEN r.skew_before_ms ELSE r.skew_ms END AS skew,
       r.late, r.no_time, r.malformed, r.out_of_range, r.dropped, r.owed, r.checkins
FROM reporter r
JOIN name s ON s.id = r.stage
ORDER BY r.last_append_ms DESC, r.id DESC
LIMIT ?1
