SELECT l.cluster, l.consumer_group, l.topic, l.partition, l.at_ms, l.state, l.committed, l.end_offset, l.log_start,
       l.messages, l.lag_ms, l.error_ms, l.at_least, l.trend, l.lag_trend, l.produced_per_s, l.consumed_per_s,
       l.catch_up_ms, l.retention_left_ms, l.eaten, l.held
FROM lag_round r
JOIN group_lag l ON l.cluster = r.cluster
WHERE r.at_ms >= ?1
ORDER BY l.cluster, l.consumer_group, l.topic, l.partition
