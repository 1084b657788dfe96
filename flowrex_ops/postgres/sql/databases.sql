-- The server's databases: size, comment, who is connected. A size that may not be read is null.
SELECT d.oid::bigint AS oid,
       d.datname::text AS name,
       pg_catalog.pg_get_userbyid(d.datdba)::text AS owner,
       CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
            THEN pg_database_size(d.oid) END AS size_bytes,
       shobj_description(d.oid, 'pg_database') AS comment,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.backend_type = 'client backend') AS sessions
FROM pg_database d
WHERE NOT d.datistemplate
ORDER BY d.datname
LIMIT %(rows)s
