-- A role that may read the stable views (docs/SQL.md) and nothing else: for dashboards and alert rules.
-- Run by the owner of chaperone's database: psql -d chaperone -f reader.sql; then, say,
-- CREATE USER grafana PASSWORD '…' IN ROLE chaperone_reader;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'chaperone_reader') THEN
        CREATE ROLE chaperone_reader NOLOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO chaperone_reader', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO chaperone_reader', current_schema());
END
$$;
GRANT SELECT ON
    v_hop_window, v_hop_bin, v_topic, v_stage_window, v_stage_bin, v_reporter, v_lag, v_amendment, v_unaudited, v_audit_lost, v_expected, v_stage_group,
    v_process
TO chaperone_reader;
