SELECT cluster, topic, partition, applied_through_ms FROM audit_partition ORDER BY applied_through_ms, topic, partition
