import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;

import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** The sums of a group. */
record Totals(long quantity, BigDecimal amount) {
    /** A binary format instead of JSON, because each purchase is serialized several times between topic and store. */
    static final Serde<Totals> SERDE = Serdes.serdeFrom((topic, totals) -> totals.write(), (topic, bytes) -> read(bytes));

    Totals plus(Totals other) {
        return new Totals(quantity + other.quantity, amount.add(other.amount));
    }

    private byte[] write() {
        byte[] digits = amount.unscaledValue().toByteArray();
        return ByteBuffer.allocate(Long.BYTES + Integer.BYTES + digits.length)
                .putLong(quantity).putInt(amount.scale()).put(digits).array();
    }

    private static Totals read(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        long quantity = buffer.getLong();
        int scale = buffer.getInt();
        byte[] digits = new byte[buffer.remaining()];
        buffer.get(digits);
        return new Totals(quantity, new BigDecimal(new BigInteger(digits), scale));
    }
}
