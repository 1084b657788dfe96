-- archive_backlog
-- How many WAL files wait to be archived, and what all WAL takes on disk.
SELECT (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready')::float8 AS waiting,
    (SELECT sum(size) FROM pg_ls_waldir())::float8 AS wal_bytes
