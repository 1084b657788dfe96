-- sequences
-- Sequences of this database, the fullest first: how much is used of what the sequence, or the column that it fills, can hold. One that
-- begins again at its end is none of them. Whose value this role may not see has no share (PostgreSQL: pg_sequences).
SELECT n.nspname || '.' || c.relname AS sequence,
    coalesce(a.attrelid::regclass || '.' || a.attname, '') AS fills,
    format_type(coalesce(a.atttypid, s.seqtypid), NULL) AS type,
    room.most,
    CASE WHEN seen.yes THEN coalesce(pg_sequence_last_value(c.oid), 0) END AS used,
    (CASE WHEN seen.yes THEN coalesce(pg_sequence_last_value(c.oid), 0) END / room.most::float8)::float8 AS share
FROM pg_catalog.pg_sequence AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid AND c.relpersistence = 'p'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid,
LATERAL (SELECT has_sequence_privilege(c.oid, 'SELECT, USAGE') AS yes) AS seen,
LATERAL (SELECT least(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END) AS most) AS room
WHERE s.seqincrement > 0 AND NOT s.seqcycle
ORDER BY share DESC NULLS LAST, 1
LIMIT %(rows)s
