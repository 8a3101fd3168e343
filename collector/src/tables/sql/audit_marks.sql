SELECT cluster, topic, partition, applied_through_ms
FROM audit_partition
WHERE closed = 0
ORDER BY applied_through_ms, topic, partition
