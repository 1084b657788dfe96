-- transaction_ids
-- How old the oldest transaction and multixact of each database are that are not frozen yet, the oldest first: at 2^31 PostgreSQL takes no
-- more writes. And what keeps vacuum from freezing more: the oldest session, prepared transaction or slot.
WITH holders AS (
    SELECT 'session of ' || coalesce(nullif(application_name, ''), usename::text, 'pid ' || pid) AS who,
        greatest(age(backend_xmin), age(backend_xid)) AS xid_age
    FROM pg_catalog.pg_stat_activity WHERE pid <> pg_backend_pid()
    UNION ALL
    SELECT 'prepared transaction ' || gid, age(transaction) FROM pg_catalog.pg_prepared_xacts
    UNION ALL
    SELECT 'replication slot ' || slot_name, greatest(age(xmin), age(catalog_xmin)) FROM pg_catalog.pg_replication_slots
)
SELECT d.datname::text AS database,
    age(d.datfrozenxid)::float8 AS xid_age,
    mxid_age(d.datminmxid)::float8 AS multixact_age,
    current_setting('autovacuum_freeze_max_age')::float8 AS freeze_max_age,
    (SELECT h.who || ', ' || h.xid_age || ' transactions old' FROM holders AS h
        WHERE h.xid_age IS NOT NULL ORDER BY h.xid_age DESC LIMIT 1) AS held_by
FROM pg_catalog.pg_database AS d
ORDER BY greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) DESC, 1
LIMIT %(rows)s
