-- pending_settings
-- Settings that were changed in a file and are not in force before the server restarts (PostgreSQL's manual, 53.24).
SELECT name, coalesce(regexp_replace(sourcefile, '^.*/', ''), 'a file') AS source
FROM pg_catalog.pg_settings
WHERE pending_restart
ORDER BY name
