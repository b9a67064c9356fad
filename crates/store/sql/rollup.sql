-- A view of spec.rollups: the rows of retail, summed up by group over longer times. Besides the braces of src/template.rs, this
-- file has {view}, {zone} and {unit}, {step} or {over} of src/rollup.rs.
--
-- A row is computed from the windows of its time only: a condition on window_start leaves few rows of the outer table, and each of
-- them reads a range of the index. The outer table is sorted, so that ORDER BY window_start DESC LIMIT n stops early.

-- {rollup}
CREATE OR REPLACE VIEW {view} AS
SELECT b.window_start, b.window_end,
{each dimension:       r.d# AS @,
}       average(r.price_sum, r.events) AS avg_price, r.quantity AS total_quantity, r.amount AS total_amount,
       r.changed_at AS "timestamp", b.window_end <= (SELECT closed_until FROM pipeline) AS final, r.events{each sum:,
       r.sum# AS @}
FROM (
{times}
    ORDER BY window_start DESC
) b
CROSS JOIN LATERAL (
    SELECT {dimensions: s.d#}, sum(s.events)::bigint AS events, sum(s.price_sum) AS price_sum,
           sum(s.quantity)::bigint AS quantity, sum(s.amount) AS amount, max(s.changed_at) AS changed_at{each sum:,
           sum(s.sum#) AS sum#}
    FROM (
        SELECT {dimensions: f.d#}, f.events, f.price_sum, f.quantity, f.amount, f.closed_at AS changed_at{each sum:, f.sum#}
        FROM final_rows f
        WHERE f.window_start >= b.window_start AND f.window_start < b.window_end
        UNION ALL
        SELECT {dimensions: g.d#}, o.events, o.price_sum, o.quantity, o.amount, o.changed_at{each sum:, o.sum#}
        FROM (
            SELECT d.group_id, sum(d.events)::bigint AS events, sum(d.quantity)::bigint AS quantity,
                   sum(d.price_sum) * 0.000001 + coalesce(sum(d.price_sum_high) * 18446744073709.551616, 0) AS price_sum,
                   sum(d.amount) * 0.000001 + coalesce(sum(d.amount_high) * 18446744073709.551616, 0) AS amount,
                   max(d.written_at) AS changed_at{each sum:,
                   sum(d.sum#) * 0.000001 + coalesce(sum(d.sum#_high) * 18446744073709.551616, 0) AS sum#}
            FROM (
                SELECT unnest(l.groups) AS group_id, unnest(l.events) AS events, unnest(l.price_sums) AS price_sum,
                       unnest(l.quantities) AS quantity, unnest(l.amounts) AS amount,
                       unnest(l.price_sums_high) AS price_sum_high, unnest(l.amounts_high) AS amount_high, l.written_at{each sum:,
                       unnest(l.sums#) AS sum#, unnest(l.sums#_high) AS sum#_high}
                FROM delta_log l
                WHERE l.window_start >= b.window_start AND l.window_start < b.window_end
            ) d
            GROUP BY d.group_id
            HAVING max(d.events) > 0
        ) o
        LEFT JOIN groups g ON g.id = o.group_id
    ) s
    GROUP BY {dimensions: s.d#}
) r;
COMMENT ON VIEW {view} IS {comment};
COMMENT ON COLUMN {view}.window_start IS 'Start of the time that the row sums up';
COMMENT ON COLUMN {view}.window_end IS 'End of this time';
{each dimension:COMMENT ON COLUMN {view}.@ IS 'Dimension # of the group';
}COMMENT ON COLUMN {view}.avg_price IS 'Average price of the events, rounded to six decimals';
COMMENT ON COLUMN {view}.total_quantity IS 'Sum of the quantities';
COMMENT ON COLUMN {view}.total_amount IS 'Sum of quantity × price';
COMMENT ON COLUMN {view}."timestamp" IS 'Time of the last change; it can be that of another group, with which compaction has stored it';
COMMENT ON COLUMN {view}.final IS 'Whether all windows of this time are closed: the row never changes again';
COMMENT ON COLUMN {view}.events IS 'Number of events';
{each sum:COMMENT ON COLUMN {view}.@ IS 'Sum of % over the events';
}
