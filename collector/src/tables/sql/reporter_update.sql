UPDATE reporter
SET audited_since_ms = ?2, last_append_ms = ?3, last_sent_ms = ?4, last_seq = ?5, skew_hour = ?6, skew_ms = ?7,
    skew_before_ms = ?8, promised_ms = ?9, watermark_ms = ?10, sum_n = ?11, sum_acked = ?12, sum_failed = ?13,
    sum_f = ?14, known = ?15, awaited = ?16, farewell = ?17, ended = ?18, heap = ?19, dropped = ?20, library = ?21,
    owed = ?22, lost_ms = ?23, checkins = ?24, late = ?25, no_time = ?26, malformed = ?27, out_of_range = ?28
WHERE id = ?1
