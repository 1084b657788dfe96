-- Tables in which the usual tools note the migrations that they applied.
SELECT n.nspname AS schema, c.relname AS "table"
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND c.relname IN ('alembic_version', 'schema_migrations', 'django_migrations', 'flyway_schema_history')
  AND has_table_privilege(c.oid, 'SELECT')
ORDER BY 1, 2
