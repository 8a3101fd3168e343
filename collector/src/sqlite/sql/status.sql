SELECT (SELECT revision FROM meta),
       coalesce(sum(read), 0), coalesce(sum(applied), 0), coalesce(sum(noop), 0), coalesce(sum(fenced), 0),
       coalesce(sum(hole), 0), coalesce(sum(quarantined), 0),
       (SELECT count(*) FROM pending WHERE unsettled = 1),
       -- An audit partition of which nothing is known leaves the whole unknown.
       CASE WHEN count(*) = count(applied_through_ms) THEN min(applied_through_ms) END
FROM audit_partition
