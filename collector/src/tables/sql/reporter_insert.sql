INSERT INTO reporter
    (incarnation, stage, host, application, library, pid, cluster, datacenter, audited_since_ms, first_append_ms,
     last_append_ms, last_sent_ms, last_seq, skew_hour, skew_ms, sum_n, sum_acked, sum_failed, sum_f, known, sealed, heap)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10, ?11, ?12, ?13, 0, 0, 0, ?14, '[]', '[]', 0)
ON CONFLICT (incarnation, stage) DO NOTHING
RETURNING id
