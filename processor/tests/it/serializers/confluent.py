"""Serializes orders with Confluent's client: confluent.py REGISTRY TOPIC. Prints one line for each record: its format and its bytes.

The subjects are TOPIC-avro-value, TOPIC-protobuf-value and TOPIC-json-value.
"""

import sys
from datetime import datetime, timezone
from decimal import Decimal

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

REGISTRY, TOPIC = sys.argv[1:]
# 2025-01-01T00:00:00Z
START = 1735689600

FIRST = """{"type": "record", "name": "Order", "namespace": "shop", "fields": [
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "shop", "type": {"type": "record", "name": "Shop", "fields": [{"name": "id", "type": "string"}]}},
  {"name": "qty", "type": ["null", "int"], "default": null},
  {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}"""
# A field is added in the middle, another one has a wider type and other branches.
SECOND = """{"type": "record", "name": "Order", "namespace": "shop", "fields": [
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
  {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
  {"name": "shop", "type": {"type": "record", "name": "Shop", "fields": [{"name": "id", "type": "string"}]}},
  {"name": "qty", "type": ["null", "long", "string"], "default": null},
  {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}}]}"""

JSON = """{"title": "Order", "type": "object", "properties": {
  "at": {"type": "integer"}, "shop": {"type": "object"}, "qty": {"type": "integer"}, "price": {"type": "number"}}}"""


def show(kind, value):
    print(kind, value.hex())


def context(kind):
    return SerializationContext(f"{TOPIC}-{kind}", MessageField.VALUE)


def avro(client):
    for schema, scale, more in (FIRST, "0.01", {}), (SECOND, "0.001", {"tags": ["a", "b"]}):
        serializer = AvroSerializer(client, schema)
        for number in range(5):
            order = {
                "at": datetime.fromtimestamp(START + number, timezone.utc),
                "shop": {"id": "S"},
                "qty": None if number == 4 else 2,
                "price": Decimal("19.99").quantize(Decimal(scale)),
            }
            show("avro", serializer(order | more, context("avro")))


def protobuf_class():
    """The class of a nested message, which is the second one of its file."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Unused")
    order = file.message_type.add(name="Orders").nested_type.add(name="Order")
    shop = order.nested_type.add(name="Shop")
    shop.field.add(name="id", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message = field.TYPE_MESSAGE
    order.field.add(name="at", number=1, type=message, type_name=".google.protobuf.Timestamp", label=field.LABEL_OPTIONAL)
    order.field.add(name="shop", number=2, type=message, type_name=".shop.Orders.Order.Shop", label=field.LABEL_OPTIONAL)
    order.oneof_decl.add(name="_qty")
    order.field.add(name="qty", number=3, type=field.TYPE_SINT32, label=field.LABEL_OPTIONAL, proto3_optional=True, oneof_index=0)
    order.field.add(name="price", number=4, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Orders.Order"))


def protobuf(client):
    order_class = protobuf_class()
    serializer = ProtobufSerializer(order_class, client, {"use.deprecated.format": False})
    for number in range(10):
        order = order_class(price=19.99)
        order.at.seconds = START + number
        order.shop.id = "S"
        if number % 5 != 4:
            order.qty = 2
        show("protobuf", serializer(order, context("protobuf")))


def json(client):
    serializer = JSONSerializer(JSON, client)
    for number in range(10):
        order = {"at": (START + number) * 1000, "shop": {"id": "S"}, "price": 19.99}
        show("json", serializer(order if number % 5 == 4 else order | {"qty": 2}, context("json")))


CLIENT = SchemaRegistryClient({"url": REGISTRY, "timeout": 20})
for serialize in avro, protobuf, json:
    serialize(CLIENT)
