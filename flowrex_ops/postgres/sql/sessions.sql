-- Every backend of the server: who it is, what it does and since when, and whom it waits for.
-- pg_blocking_pids() takes the lock manager's locks, so it is asked only for those that wait for a lock.
-- A blocking pid of 0 is a prepared transaction (PostgreSQL: System Information Functions).
SELECT
    a.pid,
    a.backend_start,
    a.backend_type,
    a.usename::text AS role,
    a.usename = coalesce(nullif(%(application_role)s, ''), current_user) AS application_role,
    coalesce(r.rolsuper, false) AS superuser,
    coalesce(r.rolreplication, false) AS replication,
    a.application_name AS application,
    a.datname::text AS database,
    coalesce(host(a.client_addr), 'local') AS client,
    a.state,
    a.wait_event_type,
    a.wait_event,
    a.xact_start,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS xact_age_seconds,
    extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS query_age_seconds,
    extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS state_age_seconds,
    CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}'::int[] END AS blocked_by,
    a.pid = pg_backend_pid() OR a.application_name = 'flowrex-ops' AS own,
    regexp_replace(left(a.query, 500), '\s+', ' ', 'g') AS query
FROM pg_catalog.pg_stat_activity AS a
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
ORDER BY a.xact_start NULLS LAST, a.backend_start
LIMIT %(rows)s
