import java.time.Duration;
import java.util.Map;
import java.util.Objects;

import org.apache.kafka.clients.CommonClientConfigs;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/** What the environment says about this run, and the names and the form of what it makes. */
final class Run {
    static final String BOOTSTRAP_SERVERS = environment("BENCH_BOOTSTRAP_SERVERS");
    static final String TOPIC = environment("BENCH_TOPIC");
    /** Must be new: offsets that a group has committed outlive its topics. */
    static final String APPLICATION = environment("BENCH_RUN");

    /** Where the sums go. */
    static final String RESULT = TOPIC + "-" + APPLICATION;
    /** As Streams calls what it sends by the group's key. */
    static final String REPARTITION = APPLICATION + "-by-group-repartition";

    static final Duration WINDOW = Duration.ofMinutes(5);
    static final Serde<String> GROUP = Serdes.String();
    static final Serde<Windowed<String>> WINDOWED_GROUP = WindowedSerdes.timeWindowedSerdeFrom(String.class, WINDOW.toMillis());

    private Run() {}

    /** How clients reach the broker. */
    static Map<String, Object> broker() {
        return Map.of(CommonClientConfigs.BOOTSTRAP_SERVERS_CONFIG, BOOTSTRAP_SERVERS);
    }

    static String environment(String name) {
        return Objects.requireNonNull(System.getenv(name), () -> name + " is not set");
    }
}
