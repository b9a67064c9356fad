import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * The job in Kafka Streams. It ends when every purchase that was in the topic at its start is in the sums, and these are in
 * the topic of results.
 */
public final class Retail {
    /**
     * The grace period. While Streams catches up, punctual purchases become late: the repartition topic delivers some partitions
     * far ahead of others. KAFKA_STREAMS_GRACE=P1D measures the cost without dropped purchases.
     */
    private static final Duration GRACE = Duration.parse(System.getenv().getOrDefault("KAFKA_STREAMS_GRACE", "PT1H"));

    /** Interval of the check for the end. */
    private static final Duration GLANCE = Duration.ofMillis(100);

    public static void main(String[] args) throws Exception {
        AtomicReference<Throwable> failure = new AtomicReference<>();
        try (Admin admin = Admin.create(Run.broker()); KafkaStreams streams = new KafkaStreams(topology(), settings())) {
            Map<TopicPartition, Long> purchases = Logs.ends(admin, Run.TOPIC);
            admin.createTopics(List.of(results())).all().get();
            streams.setUncaughtExceptionHandler(error -> {
                failure.set(error);
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            // Streams commits offsets after the broker has acknowledged all results of the records before them.
            awaitCommit(admin, purchases, failure);
            awaitCommit(admin, Logs.ends(admin, Run.REPARTITION), failure);
            System.err.printf("Kafka Streams dropped %,.0f purchases as late%n", dropped(streams));
        }
    }

    private static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(Run.TOPIC, Consumed.with(Serdes.String(), Purchase.SERDE).withTimestampExtractor(Purchase::time))
                .map((key, purchase) -> KeyValue.pair(purchase.group(), purchase.totals()))
                .groupByKey(Grouped.with("by-group", Run.GROUP, Totals.SERDE))
                .windowedBy(TimeWindows.ofSizeAndGrace(Run.WINDOW, GRACE))
                .reduce(Totals::plus, Materialized.with(Run.GROUP, Totals.SERDE))
                .toStream()
                .to(Run.RESULT, Produced.with(Run.WINDOWED_GROUP, Totals.SERDE));
        return builder.build();
    }

    private static Properties settings() {
        Properties settings = new Properties();
        settings.putAll(Run.broker());
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, Run.APPLICATION);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Run.environment("BENCH_WORK"));
        // Changed sums are sent at each commit. The default interval of 30 seconds would delay the end.
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        return settings;
    }

    /** The broker sets the times of results. With event times as timestamps, retention could delete them. */
    private static NewTopic results() {
        return new NewTopic(Run.RESULT, Optional.of(2), Optional.empty()).configs(Map.of(
                TopicConfig.MESSAGE_TIMESTAMP_TYPE_CONFIG, "LogAppendTime",
                TopicConfig.RETENTION_MS_CONFIG, "-1"));
    }

    /** Waits until the group has committed these offsets. */
    private static void awaitCommit(Admin admin, Map<TopicPartition, Long> ends, AtomicReference<Throwable> failure)
            throws Exception {
        Map<TopicPartition, OffsetAndMetadata> committed;
        do {
            Thread.sleep(GLANCE.toMillis());
            if (failure.get() != null) {
                throw new IllegalStateException("Kafka Streams gave up", failure.get());
            }
            committed = admin.listConsumerGroupOffsets(Run.APPLICATION).partitionsToOffsetAndMetadata().get();
        } while (!reached(committed, ends));
    }

    private static boolean reached(Map<TopicPartition, OffsetAndMetadata> committed, Map<TopicPartition, Long> ends) {
        return ends.entrySet().stream().allMatch(end -> {
            OffsetAndMetadata there = committed.get(end.getKey());
            return end.getValue() == 0 || there != null && there.offset() >= end.getValue();
        });
    }

    private static double dropped(KafkaStreams streams) {
        return streams.metrics().entrySet().stream()
                .filter(metric -> metric.getKey().name().equals("dropped-records-total"))
                .mapToDouble(metric -> (Double) metric.getValue().metricValue())
                .sum();
    }
}
