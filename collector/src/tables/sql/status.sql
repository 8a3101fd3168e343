SELECT (SELECT CAST(sum(revision) AS BIGINT) FROM meta),
       CAST(coalesce(sum(read), 0) AS BIGINT), CAST(coalesce(sum(applied), 0) AS BIGINT),
       CAST(coalesce(sum(noop), 0) AS BIGINT), CAST(coalesce(sum(fenced), 0) AS BIGINT),
       CAST(coalesce(sum(hole), 0) AS BIGINT), CAST(coalesce(sum(quarantined), 0) AS BIGINT),
       (SELECT count(*) FROM pending WHERE unsettled = 1),
       -- An audit partition of which nothing is known leaves the whole unknown.
       CASE WHEN count(*) = count(applied_through_ms) THEN min(applied_through_ms) END
FROM audit_partition
