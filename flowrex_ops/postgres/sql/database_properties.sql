-- What CREATE DATABASE takes to make one like another. By way of JSON, for the column of the locale has other names in other versions.
SELECT pg_get_userbyid(d.datdba)::text AS owner,
       pg_encoding_to_char(d.encoding)::text AS encoding,
       d.datcollate::text AS lc_collate,
       d.datctype::text AS lc_ctype,
       d.datconnlimit AS connection_limit,
       to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       CASE WHEN d.datacl IS NOT NULL THEN coalesce((
           SELECT jsonb_agg(jsonb_build_object('role', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
                                               'privilege', a.privilege_type, 'grantable', a.is_grantable))
           FROM aclexplode(d.datacl) a), '[]') END AS rights,
       (SELECT jsonb_agg(jsonb_build_object('role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END, 'setting', one))
        FROM pg_db_role_setting s, unnest(s.setconfig) AS one
        WHERE s.setdatabase = d.oid) AS settings
FROM pg_database d
WHERE d.datname = %(database)s
