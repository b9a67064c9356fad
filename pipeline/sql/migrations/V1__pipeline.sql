-- The store of one pipeline. Everything lives in the pipeline's own schema, which search_path names and nothing else.
--
-- State, offsets, watermark, counters and rows are in one database, so that one transaction moves them all.
-- Here are the tables; the views and functions, which can be made again at any time, are in definitions.sql.
-- Times are timestamptz in whole microseconds, money is numeric, text is compared byte for byte (COLLATE "C").

-- One row: which pipeline this is. The schema refuses another one.
CREATE TABLE pipeline (
    singleton    boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    uid          text NOT NULL,
    group_id     text NOT NULL,
    topic        text NOT NULL,
    topic_id     text,
    "window"     interval NOT NULL,
    delay        interval NOT NULL,
    closed_until timestamptz NOT NULL DEFAULT 'epoch',
    definitions  text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE pipeline IS 'Which pipeline this schema belongs to, and how far its windows are closed';
COMMENT ON COLUMN pipeline.group_id IS 'Kafka consumer group of all workers that write here';
COMMENT ON COLUMN pipeline.topic_id IS 'Id of the topic that the offsets belong to; a topic that was deleted and made again has another';
COMMENT ON COLUMN pipeline.closed_until IS 'Windows that end at or before it are closed and never change again';
COMMENT ON COLUMN pipeline.definitions IS 'Fingerprint of the views and functions as they were made last';

-- One row per partition: where it continues, and the fate of every offset so far.
CREATE TABLE partition_progress (
    partition         integer PRIMARY KEY,
    epoch             bigint NOT NULL DEFAULT 0,
    owner             text,
    start_offset      bigint NOT NULL,
    next_offset       bigint NOT NULL,
    max_observed_time timestamptz,
    floor             timestamptz NOT NULL,
    max_future        interval NOT NULL,
    idle_since        timestamptz,
    idle_confirmed    timestamptz,
    applied           bigint NOT NULL DEFAULT 0,
    late              bigint NOT NULL DEFAULT 0,
    invalid           bigint NOT NULL DEFAULT 0,
    future            bigint NOT NULL DEFAULT 0,
    gaps              bigint NOT NULL DEFAULT 0,
    committed_at      timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN partition_progress.epoch IS 'Raised by each claim; a commit that does not know it changes nothing';
COMMENT ON COLUMN partition_progress.floor IS 'Windows that end at or before it are closed for this partition, whatever it has shown';
COMMENT ON COLUMN partition_progress.idle_since IS 'Since when the log end has not moved beyond next_offset, while its owner proves that';
COMMENT ON COLUMN partition_progress.idle_confirmed IS 'Until when the owner has proven it';

-- By which floor and max_future the events of a partition are judged from an offset on. With it, verify judges again.
CREATE TABLE partition_rule (
    partition  integer NOT NULL,
    "offset"   bigint NOT NULL,
    floor      timestamptz NOT NULL,
    max_future interval NOT NULL,
    PRIMARY KEY (partition, "offset")
);

-- Additive sums of open windows. A slot keeps workers off each other's rows; it means nothing.
CREATE TABLE retail_open (
    window_start   timestamptz NOT NULL,
    category       text COLLATE "C" NOT NULL,
    payment_method text COLLATE "C" NOT NULL,
    slot           integer NOT NULL,
    events         bigint NOT NULL,
    price_sum      numeric NOT NULL,
    quantity       bigint NOT NULL,
    amount         numeric NOT NULL,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (window_start, category, payment_method, slot)
) WITH (fillfactor = 60);

-- Sums of open windows too, many of one window packed into one row. A commit only ever appends to it, which costs a tenth of
-- changing rows one by one. Readers add it to retail_open; closing empties it, compaction keeps it short.
CREATE TABLE delta_log (
    window_start    timestamptz NOT NULL,
    id              bigint GENERATED ALWAYS AS IDENTITY,
    deltas          integer NOT NULL,
    written_at      timestamptz NOT NULL,
    categories      text[] COLLATE "C" NOT NULL,
    payment_methods text[] COLLATE "C" NOT NULL,
    events          bigint[] NOT NULL,
    price_sums      numeric[] NOT NULL,
    quantities      bigint[] NOT NULL,
    amounts         numeric[] NOT NULL,
    updated_ats     timestamptz[],
    PRIMARY KEY (window_start, id)
);
COMMENT ON COLUMN delta_log.deltas IS 'How many there are in each array';
COMMENT ON COLUMN delta_log.written_at IS 'The same in all rows of one commit, or of one compaction';
COMMENT ON COLUMN delta_log.updated_ats IS 'When the sums changed last, where compaction merged them; otherwise that is written_at';

-- lz4 is many times faster than Postgres's own compression, and not built into every server.
DO $$
DECLARE
    packed text;
BEGIN
    FOREACH packed IN ARRAY ARRAY[
        'categories', 'payment_methods', 'events', 'price_sums', 'quantities', 'amounts', 'updated_ats'
    ] LOOP
        EXECUTE format('ALTER TABLE delta_log ALTER %I SET COMPRESSION lz4', packed);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;

-- Rows of closed windows: inserted once, never changed.
CREATE TABLE retail_final (
    window_start   timestamptz NOT NULL,
    window_end     timestamptz NOT NULL,
    category       text COLLATE "C" NOT NULL,
    payment_method text COLLATE "C" NOT NULL,
    events         bigint NOT NULL,
    avg_price      numeric NOT NULL,
    total_quantity bigint NOT NULL,
    total_amount   numeric NOT NULL,
    running_total  numeric NOT NULL,
    closed_at      timestamptz NOT NULL,
    PRIMARY KEY (window_start, category, payment_method)
);

-- Per group, the sum of total_amount over all closed windows.
CREATE TABLE running (
    category       text COLLATE "C" NOT NULL,
    payment_method text COLLATE "C" NOT NULL,
    total          numeric NOT NULL,
    PRIMARY KEY (category, payment_method)
) WITH (fillfactor = 60);

-- Records that were not applied, with the reason. May be deleted from at any time.
CREATE TABLE dead_letter (
    partition   integer NOT NULL,
    "offset"    bigint NOT NULL,
    reason      text NOT NULL,
    event_time  timestamptz,
    record_time timestamptz,
    payload     bytea,
    PRIMARY KEY (partition, "offset")
);
