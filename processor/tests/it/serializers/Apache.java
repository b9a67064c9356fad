import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;

/**
 * Serializes orders with Apache Avro: {@code Apache.java schema} prints the schema, {@code Apache.java ID} one line for each record
 * behind this id.
 */
class Apache {
  static final String SCHEMA = """
      {"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "lines", "type": {"type": "array", "items": "string"}},
        {"name": "attributes", "type": {"type": "map", "values": ["null", "double", {"type": "array", "items": "int"}]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "shop", "type": ["null", {"type": "record", "name": "Shop", "fields": [
          {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["ONLINE", "STREET"]}},
          {"name": "id", "type": "string"}]}]},
        {"name": "qty", "type": ["int", "null"], "default": 1},
        {"name": "price", "type": {"type": "fixed", "name": "Price", "size": 5, "logicalType": "decimal", "precision": 9, "scale": 2}}]}
      """;
  // 2025-01-01T00:00:00Z
  static final long START = 1735689600;

  public static void main(String[] arguments) throws Exception {
    Schema schema = new Schema.Parser().parse(SCHEMA);
    if (arguments[0].equals("schema")) {
      System.out.println(schema);
      return;
    }
    int id = Integer.parseUnsignedInt(arguments[0]);
    // Blocks of arrays and maps have their sizes in bytes, which the usual encoder leaves out.
    for (boolean sized : new boolean[] {false, true}) {
      for (int number = 0; number < 5; number++) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(0);
        out.write(java.nio.ByteBuffer.allocate(4).putInt(id).array());
        EncoderFactory factory = new EncoderFactory().configureBlockSize(64);
        BinaryEncoder encoder = sized ? factory.blockingBinaryEncoder(out, null) : factory.binaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(schema).write(order(schema, number), encoder);
        encoder.flush();
        System.out.println("avro " + HexFormat.of().formatHex(out.toByteArray()));
      }
    }
  }

  static GenericRecord order(Schema schema, int number) {
    Schema shopSchema = schema.getField("shop").schema().getTypes().get(1);
    GenericRecord shop = new GenericData.Record(shopSchema);
    shop.put("id", "S");
    shop.put("kind", new GenericData.EnumSymbol(shopSchema.getField("kind").schema(), "STREET"));
    GenericRecord order = new GenericData.Record(schema);
    Schema price = schema.getField("price").schema();
    BigDecimal amount = new BigDecimal("19.99");
    order.put("lines", List.of("x".repeat(40), "y".repeat(40), "z"));
    order.put("attributes", Map.of("a", 1.5, "b", List.of(1, 2, 3)));
    order.put("at", (START + number) * 1000);
    order.put("shop", shop);
    order.put("qty", number == 4 ? null : 2);
    order.put("price", new Conversions.DecimalConversion().toFixed(amount, price, price.getLogicalType()));
    return order;
  }
}
