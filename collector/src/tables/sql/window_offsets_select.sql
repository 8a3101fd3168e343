SELECT partitions
FROM window_offsets
WHERE window_ms = ?1 AND topic = ?2 AND stage = ?3 AND width_ms = ?4
