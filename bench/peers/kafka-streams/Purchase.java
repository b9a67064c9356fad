import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.time.OffsetDateTime;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** The fields of a purchase that the job uses. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Purchase(
        String category,
        @JsonProperty("payment_method") String paymentMethod,
        int quantity,
        BigDecimal price,
        String timestamp) {

    private static final ObjectReader JSON = new ObjectMapper().readerFor(Purchase.class);

    /** The job only reads purchases. */
    static final Serde<Purchase> SERDE = Serdes.serdeFrom(
            (topic, purchase) -> {
                throw new UnsupportedOperationException();
            },
            (topic, bytes) -> read(bytes));

    private static Purchase read(byte[] bytes) {
        try {
            return JSON.readValue(bytes);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Event time in milliseconds. */
    static long time(ConsumerRecord<Object, Object> record, long partitionTime) {
        return OffsetDateTime.parse(((Purchase) record.value()).timestamp()).toInstant().toEpochMilli();
    }

    /** The key of a group. The texts of purchases contain no tab. */
    String group() {
        return category + '\t' + paymentMethod;
    }

    Totals totals() {
        return new Totals(quantity, price.multiply(BigDecimal.valueOf(quantity)));
    }
}
