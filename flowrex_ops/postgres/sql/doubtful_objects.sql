-- What a database has that does not hold: constraints that were never validated, indexes that are not valid.
SELECT 'constraint ' || conname || ' of ' || conrelid::regclass::text AS name FROM pg_constraint WHERE NOT convalidated
UNION ALL
SELECT 'index ' || indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid
ORDER BY 1
