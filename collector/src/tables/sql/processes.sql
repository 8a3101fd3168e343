SELECT id, role, clusters, reads, host, pid, version, started_ms, beat_ms, problems FROM process
ORDER BY started_ms DESC, id DESC LIMIT ?1
