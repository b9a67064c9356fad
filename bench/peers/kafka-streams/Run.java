import java.time.Duration;
import java.util.Map;
import java.util.Objects;

import org.apache.kafka.clients.CommonClientConfigs;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/** The environment of this run, and the names and formats of its topics. */
final class Run {
    static final String BOOTSTRAP_SERVERS = environment("BENCH_BOOTSTRAP_SERVERS");
    static final String TOPIC = environment("BENCH_TOPIC");
    /** Must be unique, because committed offsets of a group remain after its topics are deleted. */
    static final String APPLICATION = environment("BENCH_RUN");

    /** The topic of the sums. */
    static final String RESULT = TOPIC + "-" + APPLICATION;
    /** The name that Streams gives to the repartition topic. */
    static final String REPARTITION = APPLICATION + "-by-group-repartition";

    static final Duration WINDOW = Duration.ofMinutes(5);
    static final Serde<String> GROUP = Serdes.String();
    static final Serde<Windowed<String>> WINDOWED_GROUP = WindowedSerdes.timeWindowedSerdeFrom(String.class, WINDOW.toMillis());

    private Run() {}

    /** The connection settings of clients. */
    static Map<String, Object> broker() {
        return Map.of(CommonClientConfigs.BOOTSTRAP_SERVERS_CONFIG, BOOTSTRAP_SERVERS);
    }

    static String environment(String name) {
        return Objects.requireNonNull(System.getenv(name), () -> name + " is not set");
    }
}
