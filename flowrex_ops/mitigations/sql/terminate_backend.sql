-- End one session, but only if the backend and its transaction are those that were planned.
SELECT pg_terminate_backend(a.pid) AS done
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE a.pid = %(pid)s
    AND a.backend_start = %(backend_start)s
    AND a.xact_start IS NOT DISTINCT FROM %(xact_start)s
    AND a.backend_type = 'client backend'
    AND a.usename = %(role)s
    AND NOT r.rolsuper
    AND NOT r.rolreplication
    AND a.application_name <> 'flowrex-ops'
    AND a.pid <> pg_backend_pid()
