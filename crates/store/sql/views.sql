-- Views of a pipeline's schema. They contain no data: `apply` recreates each one that differs from this file, after an upgrade
-- or a manual change. Replacing a view needs a lock that waits for its readers. To change the type or the order of its
-- columns, a migration must drop it first.

-- The result for users: the final rows of closed windows, and the present rows of open windows.
CREATE OR REPLACE VIEW retail AS
SELECT window_start, window_end, category, payment_method, avg_price, total_quantity, total_amount, running_total,
       closed_at AS "timestamp", true AS final
FROM retail_final
UNION ALL
SELECT o.window_start, o.window_start + p."window", o.category, o.payment_method,
       average(o.price_sum, o.events), o.quantity, o.amount,
       coalesce(r.total, 0) + sum(o.amount) OVER (PARTITION BY o.category, o.payment_method ORDER BY o.window_start),
       o.updated_at, false
FROM (
    SELECT window_start, category, payment_method, sum(events)::bigint AS events, sum(price_sum) AS price_sum,
           sum(quantity)::bigint AS quantity, sum(amount) AS amount, max(updated_at) AS updated_at
    FROM (
        SELECT window_start, category, payment_method, events, price_sum, quantity, amount, updated_at FROM retail_open
        UNION ALL
        SELECT l.window_start, d.category, d.payment_method, d.events, d.price_sum, d.quantity, d.amount,
               coalesce(d.updated_at, l.written_at)
        FROM delta_log l, unnest(
            l.categories, l.payment_methods, l.events, l.price_sums, l.quantities, l.amounts, l.updated_ats
        ) AS d (category, payment_method, events, price_sum, quantity, amount, updated_at)
    ) sums
    GROUP BY window_start, category, payment_method
) o
CROSS JOIN pipeline p
LEFT JOIN running r USING (category, payment_method);

-- Proves that every offset has exactly one fate.
CREATE OR REPLACE VIEW ledger AS
SELECT partition, next_offset - start_offset AS consumed, applied, late, invalid, future, gaps,
       next_offset - start_offset = applied + late + invalid + future + gaps AS balanced
FROM partition_progress;
