"""Sends 60 sales as Avro, with Confluent's client: send_avro.py TOPIC [VERSION]. Registers this version of the schema as TOPIC-value.

Reads RETAIL_BOOTSTRAP_SERVERS and RETAIL_REGISTRY_URL. docs/how-to/read-registered-avro.md runs it.
"""

import os
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

PRICE = '{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}'
SCHEMAS = {
    1: f"""{{"type": "record", "name": "Sale", "namespace": "shop", "fields": [
        {{"name": "sold_at", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}},
        {{"name": "product", "type": "string"}},
        {{"name": "pieces", "type": "int"}},
        {{"name": "price", "type": {PRICE}}}]}}""",
    # A new field, a wider type, and an optional value.
    2: f"""{{"type": "record", "name": "Sale", "namespace": "shop", "fields": [
        {{"name": "sold_at", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}},
        {{"name": "channel", "type": ["null", "string"], "default": null}},
        {{"name": "product", "type": "string"}},
        {{"name": "pieces", "type": "long"}},
        {{"name": "price", "type": ["null", {PRICE}], "default": null}}]}}""",
}
PRODUCTS = [("Bread", "4.20"), ("Bun", "0.85"), ("Tart", "3.50")]

topic = sys.argv[1]
version = int(sys.argv[2]) if len(sys.argv) > 2 else 1
registry = SchemaRegistryClient({"url": os.environ["RETAIL_REGISTRY_URL"], "timeout": 20})
serialize = AvroSerializer(registry, SCHEMAS[version])
producer = Producer({"bootstrap.servers": os.environ["RETAIL_BOOTSTRAP_SERVERS"]})
start = datetime(2025, 11, 28, 7 + version, tzinfo=timezone.utc)
for number in range(60):
    product, price = PRODUCTS[number % 3]
    sale = {"sold_at": start + timedelta(seconds=20 * number), "product": product, "pieces": 1 + number % 4, "price": Decimal(price)}
    if version == 2:
        # The last sale has no price.
        sale |= {"channel": "web", "price": sale["price"] if number < 59 else None}
    producer.produce(topic, serialize(sale, SerializationContext(topic, MessageField.VALUE)))
if producer.flush(60) > 0:
    sys.exit("Kafka did not acknowledge all records")
print(f"sent 60 sales with version {version} of the schema of {topic}-value")
