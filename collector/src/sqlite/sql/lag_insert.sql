INSERT OR REPLACE INTO group_lag (cluster, consumer_group, topic, partition, at_ms, state, committed, end_offset, log_start, messages,
                       lag_ms, error_ms, at_least, trend, lag_trend, produced_per_s, consumed_per_s, catch_up_ms,
                       retention_left_ms, eaten, held)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
