-- Cancel one statement, but only if the backend, its transaction and its statement are those that were planned.
SELECT pg_cancel_backend(a.pid) AS done
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = %(pid)s
    AND a.backend_start = %(backend_start)s
    AND a.xact_start IS NOT DISTINCT FROM %(xact_start)s
    AND a.state = 'active'
    AND a.backend_type = 'client backend'
    AND a.usename = %(role)s
    AND a.application_name <> 'flowrex-ops'
    AND a.pid <> pg_backend_pid()
