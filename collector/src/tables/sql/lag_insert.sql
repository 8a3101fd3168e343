INSERT INTO group_lag (cluster, consumer_group, topic, partition, at_ms, state, committed, end_offset, log_start, messages,
                       lag_ms, error_ms, at_least, trend, lag_trend, produced_per_s, consumed_per_s, catch_up_ms,
                       retention_left_ms, eaten, held)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
ON CONFLICT (cluster, consumer_group, topic, partition) DO UPDATE
SET at_ms = excluded.at_ms, state = excluded.state, committed = excluded.committed,
    end_offset = excluded.end_offset, log_start = excluded.log_start, messages = excluded.messages,
    lag_ms = excluded.lag_ms, error_ms = excluded.error_ms, at_least = excluded.at_least, trend = excluded.trend,
    lag_trend = excluded.lag_trend, produced_per_s = excluded.produced_per_s,
    consumed_per_s = excluded.consumed_per_s, catch_up_ms = excluded.catch_up_ms,
    retention_left_ms = excluded.retention_left_ms, eaten = excluded.eaten, held = excluded.held
