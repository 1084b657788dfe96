-- How many connections there may be, how many slots are kept back, and how many client backends there are.
-- reserved_connections came with PostgreSQL 16; current_setting with true is NULL for it before that.
-- Without pg_read_all_stats the sessions of other roles have no backend_type, and still a role: a walsender may be among them.
SELECT
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int AS superuser_reserved,
    coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
    (SELECT count(*)::int FROM pg_catalog.pg_stat_activity 
        WHERE backend_type = 'client backend' OR (backend_type IS NULL AND usesysid IS NOT NULL)) AS used,
    current_setting('server_version') AS server_version,
    current_user::text AS asked_as,
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees_all_sessions
