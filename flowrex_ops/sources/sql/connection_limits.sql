-- How many connections there may be, how many slots are kept back, and how many client backends there are.
-- reserved_connections came with PostgreSQL 16; current_setting(…, true) is NULL before it.
SELECT
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int AS superuser_reserved,
    coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
    (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS used,
    current_setting('server_version') AS server_version,
    current_user::text AS asked_as,
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees_all_sessions
