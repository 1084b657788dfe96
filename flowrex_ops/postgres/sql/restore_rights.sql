-- Whether the role may make and rename databases in the place of one, and what would hold that one.
SELECT current_user::text AS role,
       r.rolsuper OR (r.rolcreatedb AND pg_has_role(d.datdba, 'MEMBER')) AS may_create,
       (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = d.datname) AS prepared
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = %(database)s
