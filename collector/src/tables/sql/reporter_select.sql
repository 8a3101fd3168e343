SELECT id, audited_since_ms, last_append_ms, last_sent_ms, last_seq, skew_hour, skew_ms, skew_before_ms, promised_ms,
       watermark_ms, sum_n, sum_acked, sum_failed, sum_f, known, sealed, awaited, farewell, owed, lost_ms, ended, heap, dropped, library,
       checkins, late, no_time, malformed, out_of_range
FROM reporter
WHERE incarnation = ?1 AND stage = ?2
--pg FOR UPDATE
