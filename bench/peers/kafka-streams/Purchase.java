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

/** What the job needs of a purchase. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Purchase(
        String category,
        @JsonProperty("payment_method") String paymentMethod,
        int quantity,
        BigDecimal price,
        String timestamp) {

    private static final ObjectReader JSON = new ObjectMapper().readerFor(Purchase.class);

    /** Purchases are only read here. */
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

    /** Event time, which Streams counts in milliseconds. */
    static long time(ConsumerRecord<Object, Object> record, long partitionTime) {
        return OffsetDateTime.parse(((Purchase) record.value()).timestamp()).toInstant().toEpochMilli();
    }

    /** By what sums are taken. No purchase has a tab in its texts. */
    String group() {
        return category + '\t' + paymentMethod;
    }

    Totals totals() {
        return new Totals(quantity, price.multiply(BigDecimal.valueOf(quantity)));
    }
}
