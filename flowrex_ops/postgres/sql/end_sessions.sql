-- End every client's session in these databases, so that they can be renamed.
SELECT pg_terminate_backend(pid) AS ended
FROM pg_stat_activity
WHERE datname = ANY (%(databases)s) AND backend_type = 'client backend' AND pid <> pg_backend_pid()
