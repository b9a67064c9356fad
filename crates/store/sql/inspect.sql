-- One row about a schema: the fingerprint of each of its views and functions, and the columns and keys that its tables lack.
-- Objects that users added are ignored. Lookups are by name, because a catalog may contain the schemas of a thousand pipelines.
-- $1 schema, $2 lines of tables.txt, $3 names of functions, $4 names of views, $5 roles that may read them, $6 roles that may write rows
WITH ours (oid) AS (
    SELECT to_regnamespace(quote_ident($1))
), tables AS (
    SELECT c.oid, c.relname, c.relkind
    FROM ours JOIN pg_class c ON c.relnamespace = ours.oid
    WHERE c.relkind IN ('r', 'p') AND c.relname = ANY (ARRAY(
        SELECT DISTINCT split_part(split_part(line, ' ', 1), '.', 1) FROM unnest($2::text[]) AS expected (line)))
), there (line) AS (
    SELECT concat(t.relname, '.', a.attname, ' ', format_type(a.atttypid, a.atttypmod),
                  CASE WHEN a.attnotnull THEN ' not null' END, CASE WHEN a.atthasdef THEN ' default' END)
    FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT concat(t.relname, ' ', pg_get_constraintdef(k.oid))
    FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
    UNION ALL
    SELECT concat(t.relname, ' PARTITION BY ', pg_get_partkeydef(t.oid))
    FROM tables t WHERE t.relkind = 'p'
), definitions (name, text) AS (
    -- With the triggers that execute it.
    SELECT concat('function ', p.proname), concat(pg_get_functiondef(p.oid), (
        SELECT string_agg(concat(pg_get_triggerdef(g.oid), g.tgenabled), E'\n' ORDER BY g.tgname)
        FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid WHERE g.tgfoid = p.oid
    ))
    FROM ours JOIN pg_proc p ON p.pronamespace = ours.oid
    WHERE p.prokind = 'f' AND p.proname = ANY ($3::text[])
    UNION ALL
    SELECT concat('view ', c.relname), pg_get_viewdef(c.oid)
    FROM ours JOIN pg_class c ON c.relnamespace = ours.oid
    WHERE c.relkind = 'v' AND c.relname = ANY ($4::text[])
), fingerprints (name, fingerprint) AS (
    -- Without the name of the schema, because Postgres prints it or not depending on the search_path.
    SELECT u.name, left(encode(sha256(convert_to(string_agg(u.text, E'\n' ORDER BY u.text), 'UTF8')), 'hex'), 16)
    FROM (SELECT d.name, replace(d.text, quote_ident($1) || '.', '') FROM definitions d) u (name, text)
    GROUP BY u.name
)
SELECT coalesce(array_agg(f.name), '{}') AS names,
       coalesce(array_agg(f.fingerprint), '{}') AS fingerprints,
       (SELECT array_agg(expected.line ORDER BY expected.line)
        FROM unnest($2::text[]) AS expected (line)
        WHERE expected.line NOT IN (SELECT line FROM there)) AS lacks,
       (SELECT EXISTS (
            SELECT FROM unnest($5::text[]) AS reader (name) LEFT JOIN pg_roles r ON r.rolname = reader.name
            WHERE r.oid IS NULL OR NOT has_schema_privilege(r.oid, ours.oid, 'USAGE') OR EXISTS (
                SELECT FROM pg_class c
                WHERE c.relnamespace = ours.oid AND c.relkind = 'v' AND c.relname = ANY ($4::text[])
                    AND NOT has_table_privilege(r.oid, c.oid, 'SELECT')))
        FROM ours) AS readers_lack,
       (SELECT EXISTS (
            SELECT FROM unnest($6::text[]) AS runtime (name) LEFT JOIN pg_roles r ON r.rolname = runtime.name
            WHERE r.oid IS NULL OR NOT has_schema_privilege(r.oid, ours.oid, 'USAGE')
                OR EXISTS (
                    SELECT FROM pg_class c
                    WHERE c.relnamespace = ours.oid AND c.relkind = 'v' AND c.relname = ANY ($4::text[])
                        AND NOT has_table_privilege(r.oid, c.oid, 'SELECT'))
                OR EXISTS (
                    SELECT FROM tables t CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed (privilege)
                    WHERE (needed.privilege = 'SELECT' OR t.relname <> 'definitions')
                        AND NOT has_table_privilege(r.oid, t.oid, needed.privilege))
                OR EXISTS (
                    SELECT FROM pg_proc p
                    WHERE p.pronamespace = ours.oid AND p.proname = ANY ($3::text[])
                        AND NOT has_function_privilege(r.oid, p.oid, 'EXECUTE')))
        FROM ours) AS runtime_lacks
FROM fingerprints f
