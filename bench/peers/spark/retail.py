"""The job in Spark Structured Streaming: everything that is in the topic at the start, in one batch."""

from os import environ

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, from_json, sum, window

PURCHASE = "category STRING, payment_method STRING, quantity INT, price DECIMAL(10, 2), timestamp TIMESTAMP"


def write(rows: DataFrame, _batch: int) -> None:
    """Appends the rows of a batch. In update mode a later batch would bring its windows again, and meet their key."""
    login = {"user": environ["JDBC_USER"], "password": environ["JDBC_PASSWORD"], "driver": "org.postgresql.Driver"}
    rows.write.jdbc(environ["JDBC_URL"], "result", mode="append", properties=login)


spark = SparkSession.builder.appName(environ["BENCH_RUN"]).getOrCreate()
records = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", environ["BENCH_BOOTSTRAP_SERVERS"])
    .option("subscribe", environ["BENCH_TOPIC"])
    .option("startingOffsets", "earliest")
    .load()
)
totals = (
    records.select(from_json(col("value").cast("string"), PURCHASE).alias("purchase"))
    .select("purchase.*")
    .withWatermark("timestamp", "1 hour")
    .groupBy(window("timestamp", "5 minutes"), "category", "payment_method")
    .agg(sum("quantity").alias("total_quantity"), sum(col("price") * col("quantity")).alias("total_amount"))
    .select(col("window.start").alias("window_start"), "category", "payment_method", "total_quantity", "total_amount")
)
# In append mode, the windows of the last hour and five minutes would wait for newer purchases.
query = (
    totals.writeStream.outputMode("update")
    .foreachBatch(write)
    .option("checkpointLocation", environ["BENCH_WORK"] + "/checkpoint")
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
