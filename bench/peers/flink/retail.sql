-- Two cores, two slots. Rows are passed without copying, as the documentation of Flink recommends for SQL.
SET 'parallelism.default' = '2';
SET 'pipeline.object-reuse' = 'true';
SET 'table.local-time-zone' = 'UTC';
-- Reachable only from this machine.
SET 'rest.bind-address' = '127.0.0.1';
SET 'jobmanager.bind-host' = '127.0.0.1';
-- A window is written once, when it closes. The planner does not recognize the key of its rows: without these two settings it
-- refuses the table, or keeps every row as state to reorder rows that are in order.
SET 'table.exec.sink.require-on-conflict' = 'false';
SET 'table.exec.sink.upsert-materialize' = 'NONE';

-- The JSON format reads times of day that end in Z, and these end in +00:00. They are truncated to milliseconds, which
-- moves none of them into another window.
CREATE TABLE purchases (
  category STRING,
  payment_method STRING,
  quantity INT,
  price DECIMAL(10, 2),
  `timestamp` STRING,
  event_time AS TO_TIMESTAMP(`timestamp`, 'yyyy-MM-dd''T''HH:mm:ss.SSSSSSXXX'),
  WATERMARK FOR event_time AS event_time - INTERVAL '1' HOUR
) WITH (
  'connector' = 'kafka',
  'topic' = '${BENCH_TOPIC}',
  'properties.bootstrap.servers' = '${BENCH_BOOTSTRAP_SERVERS}',
  'properties.group.id' = '${BENCH_RUN}',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'json'
);

CREATE TABLE totals (
  window_start TIMESTAMP(3),
  category STRING,
  payment_method STRING,
  total_quantity BIGINT,
  total_amount DECIMAL(38, 2),
  PRIMARY KEY (window_start, category, payment_method) NOT ENFORCED
) WITH (
  'connector' = 'jdbc',
  'url' = '${JDBC_URL}',
  'username' = '${JDBC_USER}',
  'password' = '${JDBC_PASSWORD}',
  'table-name' = 'result'
);

INSERT INTO totals
SELECT window_start, category, payment_method, SUM(CAST(quantity AS BIGINT)), SUM(price * quantity)
FROM TABLE(TUMBLE(TABLE purchases, DESCRIPTOR(event_time), INTERVAL '5' MINUTE))
GROUP BY window_start, window_end, category, payment_method;
