-- Closed windows: the first $1 groups in each of the $2 hours before $3, and the totals of these groups.
UPDATE pipeline SET closed_until = $3, closing_until = $3;

CREATE TEMPORARY TABLE closed_groups AS
SELECT g.id, g.d1, g.d2, 259.25 + row_number() OVER (ORDER BY g.d1, g.d2) AS amount
FROM groups g ORDER BY g.d1, g.d2 LIMIT $1;

SELECT make_month(p.id || ' ' || p.uid, m.month)
FROM pipeline p, (SELECT DISTINCT date_trunc('month', $3 - hour * interval '1 hour', 'UTC') AS month
                  FROM generate_series(1, $2) AS hour) m;

INSERT INTO final_rows (window_start, d1, d2, events, price_sum, quantity, amount, running_total, closed_at)
SELECT $3 - hour * interval '1 hour', c.d1, c.d2, 7, 86.419746, 21, c.amount, c.amount * ($2 - hour + 1),
       $3 - (hour - 13) * interval '1 hour'
FROM generate_series($2, 1, -1) AS hour CROSS JOIN closed_groups c
ORDER BY 1, c.d1, c.d2;

-- In millionths; zero for groups without closed windows.
INSERT INTO group_totals AS t (bucket, totals)
SELECT b.bucket, array_agg(coalesce(c.amount * 1000000 * $2, 0)::bigint ORDER BY position)
FROM (SELECT DISTINCT bucket FROM groups) b CROSS JOIN generate_series(0, 63) AS position
LEFT JOIN closed_groups c ON c.id = (b.bucket << 6) + position
GROUP BY b.bucket
ON CONFLICT (bucket) DO UPDATE SET totals = excluded.totals;

DROP TABLE closed_groups;
