-- How many connections there may be, how many slots are kept back, and how many client backends there are.
-- reserved_connections came with PostgreSQL 16; current_setting with true is NULL for it before that.
-- A role and a database may have a limit of their own (CONNECTION LIMIT), which is no superuser's: the one that is nearest to it.
-- Without pg_read_all_stats the sessions of other roles have no backend_type, and still a role: a walsender may be among them.
WITH own AS (
    SELECT 'role ' || quote_ident(r.rolname) AS name, r.rolconnlimit AS most, count(*)::int AS used
    FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_stat_activity a ON a.usesysid = r.oid
    WHERE r.rolconnlimit >= 0 AND NOT r.rolsuper GROUP BY 1, 2
    UNION ALL
    SELECT 'database ' || quote_ident(d.datname), d.datconnlimit, count(*)::int
    FROM pg_catalog.pg_database d JOIN pg_catalog.pg_stat_activity a ON a.datid = d.oid AND a.usesysid IS NOT NULL
    WHERE d.datconnlimit >= 0 GROUP BY 1, 2
), nearest AS (SELECT * FROM own ORDER BY used::float / greatest(most, 1) DESC, name LIMIT 1)
SELECT
    (SELECT name FROM nearest) AS own_name,
    (SELECT most FROM nearest) AS own_most,
    (SELECT used FROM nearest) AS own_used,
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int AS superuser_reserved,
    coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
    (SELECT count(*)::int FROM pg_catalog.pg_stat_activity 
        WHERE backend_type = 'client backend' OR (backend_type IS NULL AND usesysid IS NOT NULL)) AS used,
    current_setting('server_version') AS server_version,
    current_user::text AS asked_as,
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees_all_sessions
