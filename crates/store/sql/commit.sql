-- One batch of one worker: one statement, one round trip, one transaction.
--
-- What if two of us run this? Only the one whose epoch, offsets and floors are those of the rows gets past the fence.
-- What if we die just before? Nothing happened; the next owner reads the same records again.
-- What if we die just after? The offsets moved with the sums; the next owner continues behind them.
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
    UPDATE partition_progress s
    SET next_offset = v.to_offset,
        max_observed_time = greatest(s.max_observed_time, v.max_observed_time),
        applied = s.applied + v.applied,
        late = s.late + v.late,
        invalid = s.invalid + v.invalid,
        future = s.future + v.future,
        gaps = s.gaps + v.gaps,
        -- Microseconds ago, by the worker's own clock: a proof that was long on its way is as old as it is.
        idle_since = clock_timestamp() - v.idle_since_ago * interval '1 microsecond',
        idle_confirmed = clock_timestamp() - v.idle_proven_ago * interval '1 microsecond',
        committed_at = clock_timestamp()
    FROM v
    WHERE s.partition = v.partition
        AND s.epoch = v.epoch
        AND s.next_offset = v.from_offset
        -- A partition without new records was judged by no floor.
        AND (s.floor = v.floor OR v.from_offset = v.to_offset)
    RETURNING s.partition, s.floor
), added AS (
    INSERT INTO retail_open AS t
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
    -- Slices of the arrays as they came: nothing is taken apart, row by row.
    INSERT INTO delta_log (
        window_start, deltas, written_at, categories, payment_methods, events, price_sums, quantities, amounts)
    SELECT s.window_start, s.stop - s.start + 1, (SELECT clock_timestamp()), ($25::text[])[s.start:s.stop],
           ($26::text[])[s.start:s.stop], ($27::bigint[])[s.start:s.stop], ($28::numeric[])[s.start:s.stop],
           ($29::bigint[])[s.start:s.stop], ($30::numeric[])[s.start:s.stop]
    FROM unnest($22::timestamptz[], $23::integer[], $24::integer[]) AS s (window_start, start, stop)
), kept AS (
    INSERT INTO dead_letter
    SELECT *
    FROM unnest($31::integer[], $32::bigint[], $33::text[], $34::timestamptz[], $35::timestamptz[], $36::bytea[])
    -- The fence lets no offset pass twice; a row that is there already was put there by hand.
    ON CONFLICT DO NOTHING
)
SELECT fence((SELECT count(*) FROM moved), cardinality($1)),
       (SELECT array_agg(partition) FROM moved),
       (SELECT array_agg(floor) FROM moved)
