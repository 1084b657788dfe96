-- read_only
-- Whether new transactions of the application are read-only, and by whose word. Asked in a session that does not set it itself, in a
-- transaction that is read-only; a setting of the role that asks (source user) says nothing of the application's.
SELECT pg_is_in_recovery() AS in_recovery,
    s.setting = 'on' AS read_only,
    s.source,
    application.name = current_user AS as_application,
    (SELECT string_agg(CASE WHEN r.setrole = 0 THEN 'ALTER DATABASE ' || current_database()
            WHEN r.setdatabase = 0 THEN 'ALTER ROLE ' || application.name
            ELSE 'ALTER ROLE ' || application.name || ' IN DATABASE ' || current_database() END, ', ')
        FROM pg_catalog.pg_db_role_setting AS r
        WHERE r.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
          AND r.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = application.name))
          AND r.setconfig && ARRAY['default_transaction_read_only=on', 'default_transaction_read_only=true',
              'default_transaction_read_only=yes', 'default_transaction_read_only=1']) AS set_by
FROM pg_catalog.pg_settings AS s,
    (SELECT coalesce(nullif(%(application_role)s, ''), current_user)::text AS name) AS application
WHERE s.name = 'default_transaction_read_only'
