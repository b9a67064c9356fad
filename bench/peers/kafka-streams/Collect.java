import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.Timestamp;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.kstream.Windowed;

/** Copies the last sums of each window and group into Postgres, like a connector, and deletes the topics of the run. */
public final class Collect {
    private static final String ROW = "INSERT INTO result VALUES (?, ?, ?, ?, ?)";
    private static final String FIRST = "CREATE TABLE IF NOT EXISTS first_row (at timestamptz); INSERT INTO first_row VALUES (?)";

    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Run.broker())) {
            Map<Windowed<String>, Totals> last = new HashMap<>();
            long first = read(Logs.ends(admin, Run.RESULT), last);
            write(last, first);
            List<String> made = admin.listTopics().names().get().stream()
                    .filter(topic -> topic.equals(Run.RESULT) || topic.startsWith(Run.APPLICATION + "-"))
                    .toList();
            admin.deleteTopics(made).all().get();
        }
    }

    /** Fills in the last sums. Returns the broker's time of the first result. */
    private static long read(Map<TopicPartition, Long> ends, Map<Windowed<String>, Totals> last) {
        long first = Long.MAX_VALUE;
        try (KafkaConsumer<Windowed<String>, Totals> consumer =
                new KafkaConsumer<>(Run.broker(), Run.WINDOWED_GROUP.deserializer(), Totals.SERDE.deserializer())) {
            consumer.assign(ends.keySet());
            consumer.seekToBeginning(ends.keySet());
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                for (ConsumerRecord<Windowed<String>, Totals> record : consumer.poll(Duration.ofSeconds(1))) {
                    last.put(record.key(), record.value());
                    first = Math.min(first, record.timestamp());
                }
            }
        }
        return first;
    }

    private static void write(Map<Windowed<String>, Totals> last, long first) throws Exception {
        try (Connection postgres = DriverManager.getConnection(
                        Run.environment("JDBC_URL"), Run.environment("JDBC_USER"), Run.environment("JDBC_PASSWORD"));
                PreparedStatement row = postgres.prepareStatement(ROW)) {
            postgres.setAutoCommit(false);
            for (Map.Entry<Windowed<String>, Totals> sums : last.entrySet()) {
                String[] group = sums.getKey().key().split("\t");
                row.setTimestamp(1, new Timestamp(sums.getKey().window().start()));
                row.setString(2, group[0]);
                row.setString(3, group[1]);
                row.setLong(4, sums.getValue().quantity());
                row.setBigDecimal(5, sums.getValue().amount());
                row.addBatch();
            }
            row.executeBatch();
            if (!last.isEmpty()) {
                try (PreparedStatement at = postgres.prepareStatement(FIRST)) {
                    at.setTimestamp(1, new Timestamp(first));
                    at.execute();
                }
            }
            postgres.commit();
        }
    }
}
