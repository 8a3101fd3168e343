INSERT INTO process (id, role, clusters, reads, host, pid, version, started_ms, beat_ms, problems)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (id) DO UPDATE SET beat_ms = excluded.beat_ms, problems = excluded.problems, clusters = excluded.clusters, reads = excluded.reads
