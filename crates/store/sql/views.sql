-- Views of a pipeline's schema, and the function that they need. They contain no data: `apply` recreates each one that differs
-- from this file, after an upgrade or a manual change. Replacing a view needs a lock that waits for its readers. To change the
-- type or the order of its columns, a migration must drop it first. src/template.rs explains the braces.

-- sum / count, rounded half away from zero to six decimals. It divides whole numbers, because numeric division would round
-- before round() does.
CREATE OR REPLACE FUNCTION average(price_sum numeric, events bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN div(2000000 * price_sum + sign(price_sum) * events::numeric, 2 * events::numeric) * 0.000001;
COMMENT ON FUNCTION average(numeric, bigint) IS 'A sum divided by a number of events, rounded half away from zero to six decimals, as avg_price';

-- The first moment of a day in a time zone. AT TIME ZONE takes the second of two midnights, and for a midnight that the clock leaves out, the
-- moment of the change. For the first case, the quarters of an hour before are tried: offsets are multiples of 15 minutes.
CREATE OR REPLACE FUNCTION day_start(day date, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    -- Nothing changes in the three hours before.
    WHEN (day::timestamp AT TIME ZONE zone - interval '3 hours') AT TIME ZONE zone = day::timestamp - interval '3 hours'
    THEN day::timestamp AT TIME ZONE zone
    ELSE (SELECT min(day::timestamp AT TIME ZONE zone - quarter * interval '15 minutes')
          FROM generate_series(0, 12) quarter
          WHERE ((day::timestamp AT TIME ZONE zone - quarter * interval '15 minutes') AT TIME ZONE zone)::date = day)
END;
COMMENT ON FUNCTION day_start(date, text) IS 'The first moment of a day in a time zone, also where the clock leaves out or repeats midnight: a bound for window_start';

-- The result for users: the final rows of closed windows, and the present rows of open windows.
--
-- Its form decides what a query reads:
-- * Both halves are ordered by window_start, so that ORDER BY window_start DESC LIMIT n stops early. The order of the open
--   half is that of its outer table; a join above it would lose the order, and the planner would sort all rows.
-- * The open half computes one bucket of one window at a time. ORDER BY a column of the outer table costs nothing, and keeps
--   the planner from merging this level with the one above; conditions on window and dimensions still reach its tables.
-- * Dimensions and totals are joined by LEFT JOIN: a query that does not need them does not read them.
-- * The sub-selects of the outermost list are computed after sorting and LIMIT, for returned rows only.
-- * Memoize needs a join whose outer side is expected to have several rows, and an inner side whose parameters are all known
--   to that join. The LEFT JOIN makes bucket and window its parameters.
-- * A range of window_start with two ends, where one would do, keeps the estimated cost low: compilation (jit) begins later.
CREATE OR REPLACE VIEW retail AS
SELECT u.window_start,
       u.window_start + (SELECT "window" FROM pipeline) AS window_end,
{each dimension:       u.d# AS @,
}       (SELECT average(CASE WHEN u.final THEN u.price_sum
                            ELSE u.price_sum * 0.000001 + coalesce(u.price_sum_high * 18446744073709.551616, 0) END, u.events)
       ) AS avg_price,
       u.quantity AS total_quantity,
       u.amount AS total_amount,
       CASE WHEN u.final THEN u.running_total ELSE
           -- The amounts of the group in this window, in closed windows, and in earlier open windows.
           u.amount + coalesce(u.total * 0.000001, 0) + coalesce(u.total_high * 18446744073709.551616, 0)
           + CASE WHEN (
               SELECT l.window_start FROM delta_log l
               WHERE l.window_start >= (SELECT 2 * span FROM pipeline) + (
                   SELECT f.window_start FROM delta_log f WHERE f.window_start >= (SELECT closed_until FROM pipeline)
                   ORDER BY f.window_start LIMIT 1)
               ORDER BY l.window_start LIMIT 1) IS NULL
           THEN coalesce((
               -- Up to 32 windows: for all groups of the bucket. Memoize keeps them for the next rows.
               SELECT e.amounts[array_position(e.groups, u.group_id)]
               FROM (SELECT unnest(CASE WHEN u.group_id IS NOT NULL THEN '{0}'::integer[] END)) expected_to_be_ten_rows
               LEFT JOIN (SELECT u.group_id >> 6 AS bucket, u.window_start) r ON true
               CROSS JOIN LATERAL (
                   SELECT array_agg(a.group_id) AS groups, array_agg(a.amount) AS amounts
                   FROM (
                       SELECT d.group_id, sum(d.amount) * 0.000001 + coalesce(
                           sum(d.amount_high) FILTER (WHERE d.amount_high IS NOT NULL) * 18446744073709.551616, 0) AS amount
                       FROM (
                           SELECT unnest(l.groups) AS group_id, unnest(l.amounts) AS amount,
                                  unnest(l.amounts_high) AS amount_high
                           FROM delta_log l
                           WHERE l.bucket = r.bucket AND l.window_start < r.window_start
                               AND l.window_start >= (SELECT closed_until FROM pipeline)
                       ) d
                       GROUP BY d.group_id
                   ) a
               ) e
           ), 0)
           -- More windows: for this group alone, from rows that are in no span, ...
           ELSE (
               SELECT coalesce(sum(l.amounts[CASE WHEN l.dense THEN (u.group_id & 63) + 1
                                             ELSE array_position(l.groups, u.group_id) END]) * 0.000001, 0)
                      + coalesce(sum(CASE WHEN l.amounts_high IS NOT NULL THEN l.amounts_high[
                          CASE WHEN l.dense THEN (u.group_id & 63) + 1 ELSE array_position(l.groups, u.group_id) END] END)
                          * 18446744073709.551616, 0)
               FROM delta_log l
               WHERE l.bucket = u.group_id >> 6 AND NOT l.in_span AND l.window_start < u.window_start
                   AND l.window_start >= (SELECT closed_until FROM pipeline)
           ) + CASE WHEN (SELECT EXISTS (SELECT FROM span_sums)) THEN (
               SELECT coalesce(sum(e.amounts[CASE WHEN e.dense THEN (u.group_id & 63) + 1
                                             ELSE array_position(e.groups, u.group_id) END]) * 0.000001, 0)
                      + coalesce(sum(CASE WHEN e.amounts_high IS NOT NULL THEN e.amounts_high[
                          CASE WHEN e.dense THEN (u.group_id & 63) + 1 ELSE array_position(e.groups, u.group_id) END] END)
                          * 18446744073709.551616, 0)
               FROM (
                   -- ... window by window in the span with which closing has begun, ...
                   SELECT l.dense, l.groups, l.amounts, l.amounts_high FROM delta_log l
                   WHERE l.bucket = u.group_id >> 6 AND l.in_span
                       AND l.window_start >= (SELECT closed_until FROM pipeline)
                       AND l.window_start < least((SELECT date_bin(span, closed_until, 'epoch') + span FROM pipeline),
                                                  date_bin((SELECT span FROM pipeline), u.window_start, 'epoch'))
                   UNION ALL
                   -- ... span by span up to that of this window, ...
                   SELECT true AS dense, NULL::integer[] AS groups, s.amounts, s.amounts_high FROM span_sums s
                   WHERE s.bucket = u.group_id >> 6
                       AND s.span_start >= (SELECT date_bin(span, closed_until, 'epoch') + span FROM pipeline)
                       AND s.span_start < date_bin((SELECT span FROM pipeline), u.window_start, 'epoch')
                   UNION ALL
                   -- ... and window by window in that of this window.
                   SELECT l.dense, l.groups, l.amounts, l.amounts_high FROM delta_log l
                   WHERE l.bucket = u.group_id >> 6 AND l.in_span
                       AND l.window_start >= date_bin((SELECT span FROM pipeline), u.window_start, 'epoch')
                       AND l.window_start < u.window_start
               ) e
           ) ELSE 0 END END
       END AS running_total,
       u.changed_at AS "timestamp",
       u.final,
       u.events{each sum:,
       u.sum# AS @}
FROM (
    SELECT f.window_start, {dimensions: f.d#}, f.events, f.price_sum, f.quantity, f.amount, f.running_total,
           f.closed_at AS changed_at, true AS final, NULL::integer AS group_id, NULL::numeric AS price_sum_high,
           NULL::bigint AS total, NULL::bigint AS total_high{each sum:, f.sum#}
    FROM final_rows f
    UNION ALL
    (SELECT k.window_start, {dimensions: s.d#}, s.events, s.price_sum, s.quantity, s.amount, NULL::numeric AS running_total,
            s.changed_at, false, s.group_id, s.price_sum_high, s.total, s.total_high{each sum:, s.sum#}
     FROM (SELECT DISTINCT window_start, bucket FROM delta_log ORDER BY window_start DESC, bucket DESC) k
     CROSS JOIN LATERAL (
         SELECT a.group_id, {dimensions: g.d#}, a.events::bigint AS events, a.price_sum, a.price_sum_high,
                a.quantity::bigint AS quantity,
                CASE WHEN a.amount_high IS NULL THEN a.amount * 0.000001
                     ELSE a.amount * 0.000001 + a.amount_high * 18446744073709.551616 END AS amount,
                t.totals[(a.group_id & 63) + 1] AS total, t.totals_high[(a.group_id & 63) + 1] AS total_high, a.changed_at{each sum:,
                CASE WHEN a.sum#_high IS NULL THEN a.sum# * 0.000001
                     ELSE a.sum# * 0.000001 + a.sum#_high * 18446744073709.551616 END AS sum#}
         FROM (
             SELECT d.group_id, sum(d.events) AS events, sum(d.price_sum) AS price_sum, sum(d.quantity) AS quantity,
                    sum(d.amount) AS amount, max(d.written_at) AS changed_at,
                    sum(d.price_sum_high) FILTER (WHERE d.price_sum_high IS NOT NULL) AS price_sum_high,
                    sum(d.amount_high) FILTER (WHERE d.amount_high IS NOT NULL) AS amount_high{each sum:,
                    sum(d.sum#) AS sum#, sum(d.sum#_high) FILTER (WHERE d.sum#_high IS NOT NULL) AS sum#_high}
             FROM (
                 SELECT unnest(l.groups) AS group_id, unnest(l.events) AS events, unnest(l.price_sums) AS price_sum,
                        unnest(l.quantities) AS quantity, unnest(l.amounts) AS amount,
                        unnest(l.price_sums_high) AS price_sum_high, unnest(l.amounts_high) AS amount_high, l.written_at{each sum:,
                        unnest(l.sums#) AS sum#, unnest(l.sums#_high) AS sum#_high}
                 FROM delta_log l WHERE l.window_start = k.window_start AND l.bucket = k.bucket
             ) d
             GROUP BY d.group_id
             -- Without the zeros of a dense row.
             HAVING max(d.events) > 0
         ) a
         LEFT JOIN groups g ON g.id = a.group_id AND g.bucket = k.bucket
         LEFT JOIN group_totals t ON t.bucket = k.bucket
         ORDER BY k.window_start
     ) s
     ORDER BY k.window_start DESC)
) u;
COMMENT ON VIEW retail IS 'The result: one row for each window and group. The rows of open windows are computed by the query: select and filter by ranges of window_start, and by the dimensions; a condition on an expression such as date_trunc(''day'', window_start) reads everything';
COMMENT ON COLUMN retail.window_start IS 'Start of the window';
COMMENT ON COLUMN retail.window_end IS 'End of the window, which belongs to the next one';
{each dimension:COMMENT ON COLUMN retail.@ IS 'Dimension # of the group';
}COMMENT ON COLUMN retail.avg_price IS 'Average price of the events, rounded to six decimals';
COMMENT ON COLUMN retail.total_quantity IS 'Sum of the quantities';
COMMENT ON COLUMN retail.total_amount IS 'Sum of quantity × price';
COMMENT ON COLUMN retail.running_total IS 'Sum of total_amount over this and all earlier windows of the group. For a row of an open window, it is computed by the query from the rows of earlier open windows: leave it out where it is not needed';
COMMENT ON COLUMN retail."timestamp" IS 'Time of the last change. For a row of an open window, it can be that of another group, with which compaction has stored it';
COMMENT ON COLUMN retail.final IS 'Whether the window is closed: the row never changes again';
COMMENT ON COLUMN retail.events IS 'Number of events';
{each sum:COMMENT ON COLUMN retail.@ IS 'Sum of % over the events';
}
-- The open rows of retail, all at once: a window function adds up the amounts of each group. Its cost follows the number of
-- rows. A condition on a window does not make it cheaper.
CREATE OR REPLACE VIEW retail_open_all AS
SELECT s.window_start, s.window_start + (SELECT "window" FROM pipeline) AS window_end,
       {dimensions: g.d# AS @},
       average(s.price_sum, s.events) AS avg_price, s.quantity AS total_quantity, s.amount AS total_amount,
       coalesce(t.totals[(s.group_id & 63) + 1] * 0.000001, 0)
           + coalesce(t.totals_high[(s.group_id & 63) + 1] * 18446744073709.551616, 0)
           + sum(s.amount) OVER (PARTITION BY s.group_id ORDER BY s.window_start) AS running_total,
       s.changed_at AS "timestamp", false AS final, s.events{each sum:, s.sum# AS @}
FROM (
    SELECT d.window_start, d.group_id, sum(d.events)::bigint AS events, sum(d.quantity)::bigint AS quantity,
           sum(d.price_sum) * 0.000001 + coalesce(sum(d.price_sum_high) * 18446744073709.551616, 0) AS price_sum,
           sum(d.amount) * 0.000001 + coalesce(sum(d.amount_high) * 18446744073709.551616, 0) AS amount,
           max(d.written_at) AS changed_at{each sum:,
           sum(d.sum#) * 0.000001 + coalesce(sum(d.sum#_high) * 18446744073709.551616, 0) AS sum#}
    FROM (
        SELECT l.window_start, unnest(l.groups) AS group_id, unnest(l.events) AS events, unnest(l.price_sums) AS price_sum,
               unnest(l.quantities) AS quantity, unnest(l.amounts) AS amount, unnest(l.price_sums_high) AS price_sum_high,
               unnest(l.amounts_high) AS amount_high, l.written_at{each sum:,
               unnest(l.sums#) AS sum#, unnest(l.sums#_high) AS sum#_high}
        FROM delta_log l
    ) d
    GROUP BY d.window_start, d.group_id
    HAVING max(d.events) > 0
) s
LEFT JOIN groups g ON g.id = s.group_id
LEFT JOIN group_totals t ON t.bucket = s.group_id >> 6;
COMMENT ON VIEW retail_open_all IS 'The open rows of retail, for reading all of them with running totals: it is then faster than retail';
COMMENT ON COLUMN retail_open_all.window_start IS 'Start of the window';
COMMENT ON COLUMN retail_open_all.window_end IS 'End of the window, which belongs to the next one';
{each dimension:COMMENT ON COLUMN retail_open_all.@ IS 'Dimension # of the group';
}COMMENT ON COLUMN retail_open_all.avg_price IS 'Average price of the events, rounded to six decimals';
COMMENT ON COLUMN retail_open_all.total_quantity IS 'Sum of the quantities';
COMMENT ON COLUMN retail_open_all.total_amount IS 'Sum of quantity × price';
COMMENT ON COLUMN retail_open_all.running_total IS 'Sum of total_amount over this and all earlier windows of the group';
COMMENT ON COLUMN retail_open_all."timestamp" IS 'Time of the last change; it can be that of another group, with which compaction has stored it';
COMMENT ON COLUMN retail_open_all.final IS 'Always false';
COMMENT ON COLUMN retail_open_all.events IS 'Number of events';
{each sum:COMMENT ON COLUMN retail_open_all.@ IS 'Sum of % over the events';
}
-- All groups together, by window.
CREATE OR REPLACE VIEW retail_windows AS
SELECT u.window_start, u.window_start + (SELECT "window" FROM pipeline) AS window_end,
       average(u.price_sum, u.events) AS avg_price, u.quantity AS total_quantity, u.amount AS total_amount,
       u.changed_at AS "timestamp", u.final, u.events{each sum:, u.sum# AS @}
FROM (
    SELECT f.window_start, sum(f.events)::bigint AS events, sum(f.price_sum) AS price_sum, sum(f.quantity)::bigint AS quantity,
           sum(f.amount) AS amount, max(f.closed_at) AS changed_at, true AS final{each sum:,
           sum(f.sum#) AS sum#}
    FROM final_rows f GROUP BY f.window_start
    UNION ALL
    SELECT d.window_start, sum(d.events)::bigint,
           sum(d.price_sum) * 0.000001 + coalesce(sum(d.price_sum_high) * 18446744073709.551616, 0), sum(d.quantity)::bigint,
           sum(d.amount) * 0.000001 + coalesce(sum(d.amount_high) * 18446744073709.551616, 0), max(d.written_at), false{each sum:,
           sum(d.sum#) * 0.000001 + coalesce(sum(d.sum#_high) * 18446744073709.551616, 0)}
    FROM (
        SELECT l.window_start, unnest(l.events) AS events, unnest(l.price_sums) AS price_sum,
               unnest(l.quantities) AS quantity, unnest(l.amounts) AS amount, unnest(l.price_sums_high) AS price_sum_high,
               unnest(l.amounts_high) AS amount_high, l.written_at{each sum:,
               unnest(l.sums#) AS sum#, unnest(l.sums#_high) AS sum#_high}
        FROM delta_log l
    ) d
    GROUP BY d.window_start
) u;
COMMENT ON VIEW retail_windows IS 'All groups together: one row for each window, two while it is being closed. Select a range of window_start: other queries read all closed windows';
COMMENT ON COLUMN retail_windows.window_start IS 'Start of the window';
COMMENT ON COLUMN retail_windows.window_end IS 'End of the window, which belongs to the next one';
COMMENT ON COLUMN retail_windows.avg_price IS 'Average price of the events, rounded to six decimals';
COMMENT ON COLUMN retail_windows.total_quantity IS 'Sum of the quantities';
COMMENT ON COLUMN retail_windows.total_amount IS 'Sum of quantity × price';
COMMENT ON COLUMN retail_windows."timestamp" IS 'Time of the last change';
COMMENT ON COLUMN retail_windows.final IS 'Whether the window is closed. While it is being closed, it has a row of each kind';
COMMENT ON COLUMN retail_windows.events IS 'Number of events';
{each sum:COMMENT ON COLUMN retail_windows.@ IS 'Sum of % over the events';
}
-- The total of each group. The sub-select is computed only if running_total is selected, and reads the rows of one bucket.
CREATE OR REPLACE VIEW totals AS
SELECT {dimensions: g.d# AS @},
       t.totals[(g.id & 63) + 1] * 0.000001 + coalesce(t.totals_high[(g.id & 63) + 1] * 18446744073709.551616, 0) AS total_amount,
       t.totals[(g.id & 63) + 1] * 0.000001 + coalesce(t.totals_high[(g.id & 63) + 1] * 18446744073709.551616, 0) + (
           SELECT coalesce(sum(l.amounts[CASE WHEN l.dense THEN (g.id & 63) + 1 ELSE array_position(l.groups, g.id) END])
                           * 0.000001, 0)
                  + coalesce(sum(CASE WHEN l.amounts_high IS NOT NULL THEN l.amounts_high[
                      CASE WHEN l.dense THEN (g.id & 63) + 1 ELSE array_position(l.groups, g.id) END] END)
                      * 18446744073709.551616, 0)
           FROM delta_log l WHERE l.bucket = g.bucket
       ) AS running_total
FROM groups g
JOIN group_totals t ON t.bucket = g.bucket;
COMMENT ON VIEW totals IS 'One row for each group: its totals';
{each dimension:COMMENT ON COLUMN totals.@ IS 'Dimension # of the group';
}COMMENT ON COLUMN totals.total_amount IS 'Sum of total_amount over all closed windows';
COMMENT ON COLUMN totals.running_total IS 'Sum of total_amount over all windows, also those that are still open: leave it out where it is not needed';

-- The late events that are still stored.
CREATE OR REPLACE VIEW late AS
SELECT w.window_start, w.window_start + w.length AS window_end,
{each dimension:       l.d# AS @,
}       l.quantity AS total_quantity, l.amount AS total_amount, l.event_time, l.record_time, l.missed_by, l.stored_at,
       l.partition, l."offset"{each sum:,
       l.sum# AS @}
FROM dead_letter l
CROSS JOIN LATERAL (
    SELECT date_bin(p."window", l.event_time, 'epoch') AS window_start, p."window" AS length FROM pipeline p
) w
WHERE l.reason = 'late';
COMMENT ON VIEW late IS 'The late events that dead_letter still contains: what their windows lack';
COMMENT ON COLUMN late.window_start IS 'Start of the window that the event was too late for';
COMMENT ON COLUMN late.window_end IS 'End of this window';
{each dimension:COMMENT ON COLUMN late.@ IS 'Dimension # of the event; null for a record with several purchases';
}COMMENT ON COLUMN late.total_quantity IS 'Quantity; null for a record with several purchases';
COMMENT ON COLUMN late.total_amount IS 'Quantity × price; null for a record with several purchases';
COMMENT ON COLUMN late.event_time IS 'Time of the event';
COMMENT ON COLUMN late.record_time IS 'Timestamp of the record';
COMMENT ON COLUMN late.missed_by IS 'Time from the end of the window to the bound that closed it: a delay longer by this time would have counted the event';
COMMENT ON COLUMN late.stored_at IS 'Time at which the event was stored';
COMMENT ON COLUMN late.partition IS 'Partition of the record';
COMMENT ON COLUMN late."offset" IS 'Offset of the record';
{each sum:COMMENT ON COLUMN late.@ IS 'Sum of % over the purchases of the event; null for a record with several of them';
}
-- The invalid and future records that are still stored.
CREATE OR REPLACE VIEW rejected AS
SELECT date_trunc('hour', l.stored_at, 'UTC') AS hour, l.reason, count(*) AS records, min(l.detail) AS example,
       min(l.stored_at) AS first_stored_at, max(l.stored_at) AS last_stored_at
FROM dead_letter l
WHERE l.reason <> 'late'
GROUP BY date_trunc('hour', l.stored_at, 'UTC'), l.reason;
COMMENT ON VIEW rejected IS 'The invalid and future records that dead_letter still contains: one row for each hour and reason';
COMMENT ON COLUMN rejected.hour IS 'Hour (UTC) in which the records were stored';
COMMENT ON COLUMN rejected.reason IS 'future, or why the records are invalid';
COMMENT ON COLUMN rejected.records IS 'Number of records';
COMMENT ON COLUMN rejected.example IS 'Why one of them is invalid; null for some reasons';
COMMENT ON COLUMN rejected.first_stored_at IS 'Time at which the first of them was stored';
COMMENT ON COLUMN rejected.last_stored_at IS 'Time at which the last of them was stored';

-- Proves that every offset has exactly one fate.
CREATE OR REPLACE VIEW ledger AS
SELECT partition, next_offset - start_offset AS consumed, applied, late, invalid, future, filtered, duplicate, gaps,
       next_offset - start_offset = applied + late + invalid + future + filtered + duplicate + gaps AS balanced
FROM partition_progress;
COMMENT ON VIEW ledger IS 'One row for each partition: it proves that every offset has exactly one fate';
COMMENT ON COLUMN ledger.partition IS 'Number of the partition';
COMMENT ON COLUMN ledger.consumed IS 'Number of offsets since the first one';
COMMENT ON COLUMN ledger.applied IS 'Number of events added to a window';
COMMENT ON COLUMN ledger.late IS 'Number of events whose window was closed';
COMMENT ON COLUMN ledger.invalid IS 'Number of records that are not purchases';
COMMENT ON COLUMN ledger.future IS 'Number of events that are too far ahead of the timestamp of their record';
COMMENT ON COLUMN ledger.filtered IS 'Number of records that the pipeline does not select';
COMMENT ON COLUMN ledger.duplicate IS 'Number of events with the transaction id of an earlier record';
COMMENT ON COLUMN ledger.gaps IS 'Number of offsets without a readable record';
COMMENT ON COLUMN ledger.balanced IS 'Whether consumed is the sum of all fates';
