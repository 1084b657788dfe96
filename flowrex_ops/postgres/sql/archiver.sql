-- archiver
-- Whether WAL is archived, and how the last tries ended (PostgreSQL: pg_stat_archiver). The command itself may hold a key, and is not read.
SELECT current_setting('archive_mode') AS mode,
    current_setting('archive_command') <> '' OR coalesce(current_setting('archive_library', true), '') <> '' AS configured,
    pg_is_in_recovery() AS in_recovery,
    archived_count AS archived,
    failed_count AS failed,
    extract(epoch FROM clock_timestamp() - last_archived_time)::float8 AS archived_seconds,
    extract(epoch FROM clock_timestamp() - last_failed_time)::float8 AS failed_seconds,
    last_failed_wal AS failed_wal,
    has_function_privilege('pg_catalog.pg_ls_archive_statusdir()', 'EXECUTE')
        AND has_function_privilege('pg_catalog.pg_ls_waldir()', 'EXECUTE') AS may_list
FROM pg_catalog.pg_stat_archiver
