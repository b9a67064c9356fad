-- Views and functions of a pipeline's schema. They hold nothing, so they are made again whenever they are not as they are here:
-- by a newer program, or because somebody changed them. What they return cannot change this way; a migration drops them first.

-- sum / count, rounded half away from zero to six decimals. Postgres's own division rounds once before round() does, so
-- this one divides whole numbers.
CREATE OR REPLACE FUNCTION average(price_sum numeric, events bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN div(2000000 * price_sum + events, 2 * events::numeric) * 0.000001;

-- What people read: closed rows as they were closed, and the rows of open windows as they are now.
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

-- The proof that every offset has exactly one fate.
CREATE OR REPLACE VIEW ledger AS
SELECT partition, next_offset - start_offset AS consumed, applied, late, invalid, future, gaps,
       next_offset - start_offset = applied + late + invalid + future + gaps AS balanced
FROM partition_progress;

-- Ends the statement it stands in, and with it the transaction, unless all rows were matched.
CREATE OR REPLACE FUNCTION fence(matched bigint, expected bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF matched <> expected THEN
        RAISE EXCEPTION '% of % partitions are no longer as this worker knew them', expected - matched, expected
            USING ERRCODE = 'RP001';
    END IF;
END
$$;

-- The first start of all: one row per partition of the topic. Does nothing if there is any row.
CREATE OR REPLACE FUNCTION begin_partitions(partitions integer[], offsets bigint[], future_limit interval) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM pipeline FOR UPDATE;
    IF EXISTS (SELECT FROM partition_progress) THEN
        RETURN;
    END IF;
    INSERT INTO partition_progress (partition, start_offset, next_offset, floor, max_future)
    SELECT v.partition, v.start, v.start, 'epoch', future_limit
    FROM unnest(partitions, offsets) AS v (partition, start);
    INSERT INTO partition_rule SELECT partition, start_offset, floor, max_future FROM partition_progress;
END
$$;

-- Makes the caller the owner of partitions and says where they continue. Whoever owned them before is fenced from now on.
CREATE OR REPLACE FUNCTION claim(partitions integer[], new_owner text, future_limit interval)
RETURNS TABLE (partition integer, epoch bigint, next_offset bigint, max_observed_time timestamptz, floor timestamptz)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
    -- A partition that the topic did not have before begins at offset 0. What is closed is closed for it too, or its old
    -- events would open windows again; the share lock keeps a close from slipping between.
    IF EXISTS (SELECT unnest(partitions) EXCEPT SELECT s.partition FROM partition_progress s) THEN
        PERFORM FROM pipeline FOR SHARE;
        INSERT INTO partition_progress (partition, start_offset, next_offset, floor, max_future)
        SELECT v.partition, 0, 0, p.closed_until, future_limit FROM unnest(partitions) AS v (partition), pipeline p
        ON CONFLICT DO NOTHING;
    END IF;
    PERFORM FROM partition_progress s WHERE s.partition = ANY (partitions) ORDER BY s.partition FOR UPDATE;
    UPDATE partition_progress s
    SET epoch = s.epoch + 1, owner = new_owner, max_future = future_limit, idle_since = NULL, idle_confirmed = NULL
    WHERE s.partition = ANY (partitions);
    -- Recorded where it differs from what held so far.
    INSERT INTO partition_rule
    SELECT s.partition, s.next_offset, s.floor, s.max_future FROM partition_progress s
    WHERE s.partition = ANY (partitions) AND NOT EXISTS (
        SELECT FROM (
            SELECT r.floor, r.max_future FROM partition_rule r WHERE r.partition = s.partition ORDER BY r."offset" DESC LIMIT 1
        ) so_far
        WHERE so_far.floor = s.floor AND so_far.max_future = s.max_future
    )
    ON CONFLICT (partition, "offset") DO UPDATE SET floor = excluded.floor, max_future = excluded.max_future;
    RETURN QUERY
    SELECT s.partition, s.epoch, s.next_offset, s.max_observed_time, s.floor
    FROM partition_progress s WHERE s.partition = ANY (partitions) ORDER BY s.partition;
END
$$;

-- Whether a partition passes for idle: its owner confirms it. A confirmation that is old, or that a jump of the clock
-- made look old or of the future, does not count.
CREATE OR REPLACE FUNCTION is_idle(idle_confirmed timestamptz, idle_timeout interval) RETURNS boolean
LANGUAGE sql AS $$
    SELECT idle_confirmed IS NOT NULL
        AND idle_confirmed BETWEEN clock_timestamp() - idle_timeout AND clock_timestamp()
$$;

-- How far event time is complete: the least max_observed_time - delay over the partitions that are not idle.
--
-- NULL while a partition that is not idle has shown no event. When all are idle it holds (NULL), or follows the clock.
CREATE OR REPLACE FUNCTION watermark(idle_timeout interval, follow_clock boolean) RETURNS timestamptz
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN count(*) FILTER (WHERE NOT s.idle) > 0 THEN
            CASE WHEN count(*) FILTER (WHERE NOT s.idle AND s.max_observed_time IS NULL) = 0
                THEN min(s.max_observed_time) FILTER (WHERE NOT s.idle) - p.delay END
        WHEN follow_clock AND count(*) > 0 THEN clock_timestamp() - p.delay
    END
    FROM pipeline p CROSS JOIN (
        SELECT max_observed_time, is_idle(idle_confirmed, idle_timeout) AS idle FROM partition_progress
    ) s
    GROUP BY p.delay
$$;

-- Closes the windows that the watermark has passed: their rows move to retail_final with their running totals.
--
-- Any worker may call it after its commit. The row lock on pipeline makes one of them do it at a time, without an
-- election; without "wait" a caller that comes second does nothing and gets no row. Each statement below has its own
-- snapshot, taken after the locks before it: inside one statement the running totals would be read too early.
CREATE OR REPLACE FUNCTION close_windows(idle_timeout interval, follow_clock boolean, wait boolean)
RETURNS TABLE (watermark timestamptz, closed_until timestamptz, closed_rows bigint, open_windows bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    p pipeline;
    until timestamptz;
BEGIN
    IF wait THEN
        SELECT * INTO p FROM pipeline FOR UPDATE;
    ELSE
        SELECT * INTO p FROM pipeline FOR UPDATE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    watermark := watermark(idle_timeout, follow_clock);
    closed_until := p.closed_until;
    closed_rows := 0;
    until := date_bin(p."window", watermark, 'epoch');
    IF until > p.closed_until THEN
        -- The partitions that are behind are idle. Lock them and look again: none may have moved since.
        PERFORM FROM partition_progress s WHERE (s.max_observed_time - p.delay >= until) IS NOT TRUE
            ORDER BY s.partition FOR UPDATE;
        IF NOT EXISTS (
            SELECT FROM partition_progress s
            WHERE (s.max_observed_time - p.delay >= until) IS NOT TRUE AND NOT is_idle(s.idle_confirmed, idle_timeout)
        ) THEN
            -- What they bring later is judged by the floor, and a commit that judged without it is refused.
            WITH raised AS (
                UPDATE partition_progress s SET floor = until
                WHERE (s.max_observed_time - p.delay >= until) IS NOT TRUE AND s.floor < until
                RETURNING s.partition, s.next_offset, s.floor, s.max_future
            )
            INSERT INTO partition_rule SELECT r.partition, r.next_offset, r.floor, r.max_future FROM raised r
            ON CONFLICT (partition, "offset") DO UPDATE SET floor = excluded.floor, max_future = excluded.max_future;

            WITH closed AS (
                DELETE FROM retail_open o WHERE o.window_start <= until - p."window" RETURNING o.*
            ), unlogged AS (
                DELETE FROM delta_log l WHERE l.window_start <= until - p."window" RETURNING l.*
            ), sums AS (
                SELECT c.window_start, c.category, c.payment_method, c.events, c.price_sum, c.quantity, c.amount FROM closed c
                UNION ALL
                SELECT u.window_start, d.*
                FROM unlogged u, unnest(
                    u.categories, u.payment_methods, u.events, u.price_sums, u.quantities, u.amounts
                ) AS d (category, payment_method, events, price_sum, quantity, amount)
            ), summed AS (
                SELECT s.window_start, s.category, s.payment_method, sum(s.events)::bigint AS events,
                       sum(s.price_sum) AS price_sum, sum(s.quantity)::bigint AS quantity, sum(s.amount) AS amount
                FROM sums s GROUP BY s.window_start, s.category, s.payment_method
            ), final AS (
                INSERT INTO retail_final
                SELECT s.window_start, s.window_start + p."window", s.category, s.payment_method, s.events,
                       average(s.price_sum, s.events), s.quantity, s.amount,
                       coalesce(r.total, 0) + sum(s.amount) OVER (PARTITION BY s.category, s.payment_method ORDER BY s.window_start),
                       clock_timestamp()
                FROM summed s LEFT JOIN running r USING (category, payment_method)
                RETURNING 1
            ), added AS (
                INSERT INTO running AS r
                SELECT s.category, s.payment_method, sum(s.amount) FROM summed s GROUP BY s.category, s.payment_method
                ON CONFLICT (category, payment_method) DO UPDATE SET total = r.total + excluded.total
            )
            SELECT count(*) INTO closed_rows FROM final;
            UPDATE pipeline SET closed_until = until;
            closed_until := until;
        END IF;
    END IF;
    -- From one window to the next by the key: counting all rows would cost more than all of the above.
    WITH RECURSIVE starts (window_start) AS (
        SELECT min(o.window_start) FROM retail_open o
        UNION ALL
        SELECT (SELECT min(o.window_start) FROM retail_open o WHERE o.window_start > previous.window_start)
        FROM starts previous WHERE previous.window_start IS NOT NULL
    )
    SELECT count(*) INTO open_windows FROM (
        SELECT s.window_start FROM starts s WHERE s.window_start IS NOT NULL
        UNION
        SELECT l.window_start FROM delta_log l
    ) w;
    RETURN NEXT;
END
$$;

-- Merges the log where it holds more than four deltas for each group of a window, and says how many deltas it merged.
--
-- It changes no row of retail: what is taken out is put back as its sums. Whoever commits meanwhile is neither seen nor kept
-- waiting. Windows do not close meanwhile, so a call ends with the window in which it has merged 200,000.
CREATE OR REPLACE FUNCTION compact_log() RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    due timestamptz[];
    merged bigint;
BEGIN
    PERFORM FROM pipeline FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT array_agg(d.window_start), coalesce(sum(d.deltas), 0) INTO due, merged
    FROM (
        SELECT w.window_start, w.deltas, sum(w.deltas) OVER (ORDER BY w.window_start) - w.deltas AS before
        FROM (
            -- A commit, and a compaction, has one delta for a group: a window has at least as many groups as the largest of them.
            SELECT c.window_start, sum(c.deltas) AS deltas
            FROM (
                SELECT l.window_start, sum(l.deltas) AS deltas FROM delta_log l GROUP BY l.window_start, l.written_at
            ) c
            GROUP BY c.window_start
            HAVING sum(c.deltas) > 4 * max(c.deltas)
        ) w
    ) d
    WHERE d.before < 200000;
    IF merged > 0 THEN
        WITH taken AS (
            DELETE FROM delta_log l WHERE l.window_start = ANY (due) RETURNING l.*
        ), summed AS (
            SELECT t.window_start, d.category, d.payment_method, sum(d.events)::bigint AS events, sum(d.price_sum) AS price_sum,
                   sum(d.quantity)::bigint AS quantity, sum(d.amount) AS amount,
                   max(coalesce(d.updated_at, t.written_at)) AS updated_at
            FROM taken t, unnest(
                t.categories, t.payment_methods, t.events, t.price_sums, t.quantities, t.amounts, t.updated_ats
            ) AS d (category, payment_method, events, price_sum, quantity, amount, updated_at)
            GROUP BY t.window_start, d.category, d.payment_method
        ), numbered AS (
            SELECT s.*, row_number() OVER (PARTITION BY s.window_start ORDER BY s.category, s.payment_method) - 1 AS number
            FROM summed s
        )
        INSERT INTO delta_log (window_start, deltas, written_at, categories, payment_methods, events, price_sums, quantities,
                               amounts, updated_ats)
        SELECT n.window_start, count(*), (SELECT clock_timestamp()), array_agg(n.category), array_agg(n.payment_method),
               array_agg(n.events), array_agg(n.price_sum), array_agg(n.quantity), array_agg(n.amount),
               array_agg(n.updated_at)
        FROM numbered n GROUP BY n.window_start, n.number / 4096;
    END IF;
    RETURN merged;
END
$$;
