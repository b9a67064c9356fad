-- One row about a schema: the fingerprint of its views and functions, and the columns and keys that its tables lack. Objects
-- that users added are ignored. Lookups are by name, because a catalog may contain the schemas of a thousand pipelines.
WITH pinned (path) AS MATERIALIZED (
    -- The text of a view depends on the search_path. This one ends with the transaction.
    SELECT set_config('search_path', 'pg_catalog, pg_temp', true)
), ours (oid) AS (
    SELECT to_regnamespace(quote_ident($1)) FROM pinned WHERE path IS NOT NULL
), tables AS (
    SELECT c.oid, c.relname
    FROM ours JOIN pg_class c ON c.relnamespace = ours.oid
    WHERE c.relkind = 'r' AND c.relname IN (
        'pipeline', 'partition_progress', 'fate_rules', 'groups', 'group_totals', 'delta_log', 'final_rows', 'closes',
        'dead_letter')
), there (line) AS (
    SELECT concat(t.relname, '.', a.attname, ' ', format_type(a.atttypid, a.atttypmod),
                  CASE WHEN a.attnotnull THEN ' not null' END, CASE WHEN a.atthasdef THEN ' default' END)
    FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT concat(t.relname, ' ', pg_get_constraintdef(k.oid))
    FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
), definitions (text) AS (
    SELECT pg_get_functiondef(p.oid)
    FROM ours JOIN pg_proc p ON p.pronamespace = ours.oid
    WHERE p.prokind = 'f' AND p.proname IN (
        'average', 'expect_identity', 'bind_topic', 'begin_partitions', 'claim', 'intern_groups', 'known_groups',
        'commit_batch', 'is_idle', 'watermark', 'begin_close', 'close_step', 'compact', 'multiples_of_2_64',
        'record_close_failure')
    UNION ALL
    SELECT concat(c.relname, ' ', pg_get_viewdef(c.oid))
    FROM ours JOIN pg_class c ON c.relnamespace = ours.oid
    WHERE c.relkind = 'v' AND c.relname IN ('retail', 'retail_windows', 'retail_totals', 'ledger')
)
SELECT md5(string_agg(d.text, E'\n' ORDER BY d.text)) AS definitions,
       (SELECT array_agg(expected.line ORDER BY expected.line)
        FROM unnest($2::text[]) AS expected (line)
        WHERE expected.line NOT IN (SELECT line FROM there)) AS lacks
FROM definitions d
