-- Transactions prepared for two-phase commit and not yet finished, with what they keep locked.
-- Their locks stand in pg_locks with virtualtransaction '-1/<transaction id>' (PostgreSQL: pg_locks, pg_prepared_xacts).
SELECT
    p.gid,
    p.owner::text AS role,
    p.database::text AS database,
    p.prepared,
    extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS age_seconds,
    (
        SELECT coalesce(string_agg(DISTINCT l.relation::regclass::text, ', '), '')
        FROM pg_catalog.pg_locks AS l
        WHERE l.pid IS NULL AND l.virtualtransaction = '-1/' || p.transaction::text AND l.relation IS NOT NULL
    ) AS locks,
    (
        SELECT count(*)
        FROM pg_catalog.pg_locks AS w
        WHERE NOT w.granted AND w.locktype = 'transactionid' AND w.transactionid = p.transaction
    ) AS waiting
FROM pg_catalog.pg_prepared_xacts AS p
ORDER BY p.prepared
LIMIT %(rows)s
