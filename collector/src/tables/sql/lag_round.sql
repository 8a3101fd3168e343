INSERT INTO lag_round (cluster, at_ms, every_ms, groups, left_out)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (cluster) DO UPDATE
SET at_ms = excluded.at_ms, every_ms = excluded.every_ms, groups = excluded.groups, left_out = excluded.left_out
