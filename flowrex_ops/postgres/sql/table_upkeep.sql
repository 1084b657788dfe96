-- table_upkeep
-- Tables of this database, the most neglected first: dead and changed rows beside the numbers at which autovacuum would begin (PostgreSQL:
-- Routine Vacuuming; a table's own settings above the server's), when it was last looked after, and what keeps vacuum from removing rows.
-- Temporary tables are none of autovacuum's. A column is NULL where the role that asks may not see it.
WITH holder AS (
    SELECT 'session of ' || coalesce(nullif(application_name, ''), usename::text, backend_type, '') || ' (PID ' || pid || ')' AS who,
        greatest(age(backend_xmin), age(backend_xid)) AS xid_age, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
    FROM pg_catalog.pg_stat_activity
    WHERE pid <> pg_backend_pid() AND coalesce(datname, current_database()) = current_database() AND backend_type <> 'autovacuum worker'
    UNION ALL
    SELECT 'prepared transaction ' || gid, age(transaction), extract(epoch FROM clock_timestamp() - prepared)
    FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'replication slot ' || slot_name, age(xmin), CASE WHEN NOT active THEN 'infinity'::float8 END FROM pg_catalog.pg_replication_slots
), oldest AS (
    SELECT who, seconds FROM holder WHERE xid_age IS NOT NULL ORDER BY xid_age DESC LIMIT 1
), vacuums AS (
    SELECT p.relid, max(extract(epoch FROM clock_timestamp() - a.xact_start))::float8 AS seconds
    FROM pg_catalog.pg_stat_progress_vacuum AS p JOIN pg_catalog.pg_stat_activity AS a USING (pid)
    WHERE p.datname = current_database() GROUP BY 1
), found AS (
    SELECT c.oid, s.*, c.reltuples, coalesce((o.own ->> 'autovacuum_enabled')::boolean, true) AS enabled,
        coalesce((o.own ->> 'autovacuum_vacuum_threshold')::float8, current_setting('autovacuum_vacuum_threshold')::float8)
            + coalesce((o.own ->> 'autovacuum_vacuum_scale_factor')::float8, current_setting('autovacuum_vacuum_scale_factor')::float8)
            * greatest(c.reltuples, 0) AS vacuum_at,
        nullif(coalesce((o.own ->> 'autovacuum_vacuum_max_threshold')::float8,
            current_setting('autovacuum_vacuum_max_threshold', true)::float8), -1) AS vacuum_at_most,
        coalesce((o.own ->> 'autovacuum_analyze_threshold')::float8, current_setting('autovacuum_analyze_threshold')::float8)
            + coalesce((o.own ->> 'autovacuum_analyze_scale_factor')::float8, current_setting('autovacuum_analyze_scale_factor')::float8)
            * greatest(c.reltuples, 0) AS analyze_at,
        greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at, greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
    FROM pg_catalog.pg_stat_user_tables AS s
    JOIN pg_catalog.pg_class AS c ON c.oid = s.relid AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't',
    LATERAL (SELECT jsonb_object_agg(option_name, option_value) AS own FROM pg_options_to_table(c.reloptions)) AS o
), told AS (
    SELECT f.schemaname || '.' || f.relname AS table,
        greatest(f.reltuples, f.n_live_tup, CASE
            -- Nothing was ever counted, as after pg_upgrade: its size tells, at 200 bytes a row, unless somebody writes to it.
            WHEN f.reltuples <= 0 AND f.n_live_tup = 0 AND f.n_mod_since_analyze = 0 AND f.oid NOT IN
                (SELECT relation FROM pg_catalog.pg_locks WHERE relation IS NOT NULL AND mode NOT IN ('AccessShareLock', 'RowShareLock'))
            THEN pg_relation_size(f.oid) / 200 ELSE 0 END)::float8 AS rows,
        f.n_dead_tup::float8 AS dead,
        least(f.vacuum_at, f.vacuum_at_most) AS vacuum_at,
        extract(epoch FROM clock_timestamp() - f.vacuumed_at)::float8 AS vacuumed_seconds,
        v.seconds AS vacuuming_seconds,
        f.n_mod_since_analyze::float8 AS changed,
        f.analyze_at,
        extract(epoch FROM clock_timestamp() - f.analyzed_at)::float8 AS analyzed_seconds,
        CASE WHEN f.analyzed_at IS NOT NULL THEN true
            WHEN has_table_privilege(f.oid, 'SELECT') AND NOT row_security_active(f.oid) THEN EXISTS
                (SELECT FROM pg_catalog.pg_stats AS p WHERE p.schemaname = f.schemaname AND p.tablename = f.relname)
            WHEN f.reltuples < 0 THEN false END AS has_statistics,
        f.vacuumed_at IS NULL AND f.analyzed_at IS NULL AND f.n_live_tup < f.reltuples / 2 AS counters_lost,
        CASE WHEN NOT current_setting('track_counts')::boolean THEN 'off: track_counts'
            WHEN NOT current_setting('autovacuum')::boolean THEN 'off for the server'
            WHEN NOT f.enabled THEN 'off for this table'
            WHEN (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'autovacuum worker')
                >= current_setting('autovacuum_max_workers')::int THEN 'all workers busy'
            ELSE 'on' END AS autovacuum,
        (SELECT who FROM oldest) AS held_by,
        (SELECT seconds FROM oldest) AS held_seconds
    FROM found AS f LEFT JOIN vacuums AS v ON v.relid = f.oid
)
SELECT * FROM told
ORDER BY greatest(dead / greatest(vacuum_at, 1), changed / greatest(analyze_at, 1), CASE WHEN has_statistics THEN 0 ELSE rows / 10000 END) DESC, 1
LIMIT %(rows)s
