-- Commits one batch of one worker: one statement, one round trip, one transaction.
--
-- Two workers run it at the same time: the fence only accepts the one whose epoch, offsets and floors match the rows.
-- The worker crashes just before: nothing was written, and the next owner reads the same records again.
-- The worker crashes just after: the offsets moved together with the sums, and the next owner continues after them.
WITH v AS (
    SELECT *
    FROM unnest(
        $1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]
    ) AS v (
        partition, epoch, from_offset, to_offset, max_observed_time, floor,
        applied, late, invalid, future, gaps, idle_since_ago, idle_proven_ago
    )
), moved AS (
    UPDATE {schema}.partition_progress s
    SET next_offset = v.to_offset,
        max_observed_time = greatest(s.max_observed_time, v.max_observed_time),
        applied = s.applied + v.applied,
        late = s.late + v.late,
        invalid = s.invalid + v.invalid,
        future = s.future + v.future,
        gaps = s.gaps + v.gaps,
        -- The ages are measured by the worker, so that the time a commit waited is included.
        idle_since = clock_timestamp() - v.idle_since_ago * interval '1 microsecond',
        idle_confirmed = clock_timestamp() - v.idle_proven_ago * interval '1 microsecond',
        committed_at = clock_timestamp()
    FROM v
    WHERE s.partition = v.partition
        AND s.epoch = v.epoch
        AND s.next_offset = v.from_offset
        -- Without new records, no record was judged by the floor.
        AND (s.floor = v.floor OR v.from_offset = v.to_offset)
    RETURNING s.partition, s.floor
), added AS (
    INSERT INTO {schema}.retail_open AS t
    SELECT r.window_start, r.category, r.payment_method, $21, r.events, r.price_sum, r.quantity, r.amount, clock_timestamp()
    FROM unnest(
        $14::timestamptz[], $15::text[], $16::text[], $17::bigint[], $18::numeric[], $19::bigint[], $20::numeric[]
    ) AS r (window_start, category, payment_method, events, price_sum, quantity, amount)
    ON CONFLICT (window_start, category, payment_method, slot) DO UPDATE
    SET events = t.events + excluded.events,
        price_sum = t.price_sum + excluded.price_sum,
        quantity = t.quantity + excluded.quantity,
        amount = t.amount + excluded.amount,
        updated_at = excluded.updated_at
), appended AS (
    -- Slices of the parameters: the arrays are not unpacked into rows.
    INSERT INTO {schema}.delta_log (
        window_start, deltas, written_at, categories, payment_methods, events, price_sums, quantities, amounts)
    SELECT s.window_start, s.stop - s.start + 1, (SELECT clock_timestamp()), ($25::text[])[s.start:s.stop],
           ($26::text[])[s.start:s.stop], ($27::bigint[])[s.start:s.stop], ($28::numeric[])[s.start:s.stop],
           ($29::bigint[])[s.start:s.stop], ($30::numeric[])[s.start:s.stop]
    FROM unnest($22::timestamptz[], $23::integer[], $24::integer[]) AS s (window_start, start, stop)
), kept AS (
    INSERT INTO {schema}.dead_letter
    SELECT *
    FROM unnest($31::integer[], $32::bigint[], $33::text[], $34::timestamptz[], $35::timestamptz[], $36::bytea[])
    -- The fence accepts each offset once; an existing row was inserted by a user.
    ON CONFLICT DO NOTHING
)
SELECT {schema}.fence((SELECT count(*) FROM moved), cardinality($1)),
       (SELECT array_agg(partition) FROM moved),
       (SELECT array_agg(floor) FROM moved)
