-- invalid_indexes
-- Indexes of this database that writes keep up and queries cannot use (pg_index: indisvalid, indisready). One of a partitioned table is invalid
-- until each partition has its own. ``locked_by``: who holds the lock on its table that whoever builds one CONCURRENTLY holds all along.
SELECT n.nspname || '.' || c.relname AS index,
    i.indrelid::regclass::text AS table,
    i.indisready AS is_ready,
    CASE WHEN pg_is_in_recovery() THEN '<not seen: this is a standby>' ELSE
        (SELECT 'PID ' || l.pid || ', ' || coalesce(left(a.query, 200), '<not seen>')
        FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a USING (pid)
        WHERE l.locktype = 'relation' AND l.relation = i.indrelid AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
          AND a.backend_type IS DISTINCT FROM 'autovacuum worker' LIMIT 1) END AS locked_by
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i' AND c.relpersistence <> 't'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready)
ORDER BY 1
LIMIT %(rows)s
