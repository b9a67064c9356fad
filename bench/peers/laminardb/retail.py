"""The job in LaminarDB. It keeps sums while it runs, and writes them to Postgres every second.

The job has no watermark, because the JSON reader of LaminarDB silently drops columns of time and decimal types. The source
therefore has text and binary numbers. A first stream converts them to times and exact cents; a second one groups by a computed
window, which never closes, so that no purchase is late.
"""

import sys
import time
from os import environ

import laminardb
import psycopg
from pyarrow import compute

# Interval of writing sums, in seconds.
TRIGGER = 1

# The run ends after this time without a new record, in seconds.
PATIENCE = 10

SOURCE = f"""
    CREATE SOURCE purchases (
        category VARCHAR, payment_method VARCHAR, quantity BIGINT, price DOUBLE, timestamp VARCHAR
    ) WITH (
        'connector' = 'kafka',
        'bootstrap.servers' = '{environ["BENCH_BOOTSTRAP_SERVERS"]}',
        'topic' = '{environ["BENCH_TOPIC"]}',
        'group.id' = '{environ["BENCH_RUN"]}',
        'auto.offset.reset' = 'earliest',
        'format' = 'json'
    )
"""

# In the second stream these expressions emit no rows.
KEYED = """
    CREATE STREAM keyed AS
    SELECT date_bin(INTERVAL '5 minutes', CAST("timestamp" AS TIMESTAMP)) AS window_start, category, payment_method,
        quantity, CAST(price AS DECIMAL(10, 2)) AS price
    FROM purchases
"""

TOTALS = """
    CREATE STREAM totals AS
    SELECT window_start, category, payment_method, SUM(quantity) AS total_quantity, SUM(price * quantity) AS total_amount,
        COUNT(*) AS purchases
    FROM keyed
    GROUP BY window_start, category, payment_method
"""

UPSERT = """
    INSERT INTO result
    VALUES (%(window_start)s, %(category)s, %(payment_method)s, %(total_quantity)s, %(total_amount)s)
    ON CONFLICT (window_start, category, payment_method)
    DO UPDATE SET total_quantity = excluded.total_quantity, total_amount = excluded.total_amount
"""


def following(totals):
    """What the subscription brings within a second, or nothing."""
    try:
        return totals.next_timeout(1000)
    except laminardb.SubscriptionError as error:
        if error.code != laminardb.codes.SUBSCRIPTION_TIMEOUT:
            raise
        return None


def write(postgres, table):
    """Puts all sums into the table. Their times are UTC without saying so, and so is the session."""
    with postgres.cursor() as cursor:
        cursor.executemany(UPSERT, table.to_pylist())
    postgres.commit()


def take_up(totals, expected, postgres):
    """Writes sums until they have as many purchases as the topic, or no more come. Returns how many they have."""
    counted, table = 0, None
    changed = written = time.monotonic()
    while counted < expected and time.monotonic() < changed + PATIENCE:
        batch = following(totals)
        if batch is None:
            continue
        # Each batch contains all sums, not only the changed ones.
        table = batch.to_arrow()
        counted = compute.sum(table["purchases"]).as_py()
        changed = time.monotonic()
        if changed >= written + TRIGGER:
            write(postgres, table)
            written = changed
    if table is not None:
        write(postgres, table)
    return counted


def main():
    """Runs until everything is in Postgres, or nothing comes any more."""
    expected = int(environ["BENCH_EVENTS"])
    settings = f"-c search_path={environ['BENCH_SCHEMA']} -c timezone=UTC"
    with laminardb.open(":memory:") as database, psycopg.connect(environ["BENCH_DATABASE_URL"], options=settings) as postgres:
        for statement in (SOURCE, KEYED, TOTALS):
            database.execute(statement)
        totals = database.subscribe_stream("totals")
        database.start()
        counted = take_up(totals, expected, postgres)
    if counted < expected:
        print(f"LaminarDB left out {expected - counted:,} of {expected:,} purchases", file=sys.stderr)


main()
