"""Records in Avro, by the schemas of their writers: docs/reference/formats.md and the specification of Avro.

Values become those of `values`: objects, numbers as text, and texts. A type that the trial does not use is an error of the oracle, so that
no value is read by a wrong rule.
"""

import json
import struct
from decimal import Decimal

from values import Bad, Float, Instant, NoText, Number, Object, Opaque

INSTANTS = {"timestamp-millis": 10**3, "timestamp-micros": 10**6}
NO_LOGICAL = None, "timestamp-millis", "timestamp-micros", "decimal"


class Malformed(Exception):
    """The body is not a value of its schema."""


def plain(number):
    """The text of a decimal without an exponent and without zeros behind its last decimal."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("", "-0", "-") else text


def shortest(value, width):
    """The shortest decimal that reads back as the same number of this many bytes; an opaque value for NaN and infinities."""
    if value != value or value in (float("inf"), float("-inf")):
        return Opaque()
    if width == 8:
        return Float(plain(Decimal(repr(value))))
    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    return Float(plain(Decimal(next(text for text in texts if struct.unpack("<f", struct.pack("<f", float(text)))[0] == value))))


class Input:
    """The bytes of a body that are not read yet."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, count):
        if not 0 <= count <= len(self.body) - self.at:
            raise Malformed
        self.at += count
        return self.body[self.at - count:self.at]

    def integer(self, longest, bits):
        number = 0
        for place in range(longest):
            (byte,) = self.take(1)
            number |= (byte & 127) << (7 * place)
            if byte < 128:
                if number >> bits:
                    raise Malformed
                return (number >> 1) ^ -(number & 1)
        raise Malformed

    def long(self):
        return self.integer(10, 64)


class Schema:
    """The schema of a writer."""

    def __init__(self, text):
        self.names = {}
        self.read_value = self.compiled(json.loads(text), "")

    def read(self, body):
        """The record of a body, to its end."""
        input = Input(body)
        try:
            record = self.read_value(input)
        except Malformed:
            raise Bad("malformed_avro") from None
        if input.at != len(body):
            raise Bad("malformed_avro")
        return record

    def compiled(self, schema, namespace):
        """A function that reads a value of a schema."""
        if isinstance(schema, list):
            return self.union([self.compiled(branch, namespace) for branch in schema])
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                return PRIMITIVES[schema]
            return self.names[schema if "." in schema or not namespace else f"{namespace}.{schema}"]
        kind, logical = schema["type"], schema.get("logicalType")
        if logical not in NO_LOGICAL:
            raise ValueError(f"the oracle has no logical type {logical}")
        if isinstance(kind, (dict, list)):
            return self.compiled(kind, namespace)
        if kind == "array":
            return blocks(self.compiled(schema["items"], namespace))
        if kind == "map":
            value = self.compiled(schema["values"], namespace)
            entries = blocks(lambda input: (read_bytes(input), value(input)))
            return lambda input: Object(list({name(key): found for key, found in entries(input)}.items()))
        if kind in ("record", "enum", "fixed"):
            space = schema.get("namespace", namespace)
            full = schema["name"] if "." in schema["name"] or not space else f"{space}.{schema['name']}"
            read = getattr(self, kind)(schema, space)
            self.names[full] = read
            return read
        if logical == "decimal" and kind == "bytes":
            return lambda input: decimal(read_bytes(input), schema.get("scale", 0))
        if logical in INSTANTS and kind == "long":
            return lambda input: Instant(input.long(), INSTANTS[logical])
        if logical:
            raise ValueError(f"the oracle has no {logical} in {kind}")
        return PRIMITIVES[kind]

    def record(self, schema, namespace):
        fields = [(field["name"], field.get("aliases", []), self.compiled(field["type"], namespace))
                  for field in schema["fields"]]
        own = {field_name for field_name, _, _ in fields}

        def read(input):
            pairs, others = [], {}
            for field_name, aliases, read_field in fields:
                value = read_field(input)
                pairs.append((field_name, value))
                # A name takes precedence over an alias.
                others.update((alias, value) for alias in aliases if alias not in own)
            return Object(pairs + list(others.items()))

        return read

    @staticmethod
    def enum(schema, _namespace):
        symbols = schema["symbols"]

        def read(input):
            at = input.integer(5, 32)
            if not 0 <= at < len(symbols):
                raise Malformed
            return symbols[at]

        return read

    @staticmethod
    def fixed(schema, _namespace):
        size = schema["size"]
        if schema.get("logicalType") == "decimal":
            return lambda input: decimal(input.take(size), schema.get("scale", 0))
        return lambda input: Opaque() if input.take(size) is not None else None

    @staticmethod
    def union(branches):
        def read(input):
            at = input.long()
            if not 0 <= at < len(branches):
                raise Malformed
            return branches[at](input)

        return read


def blocks(read_item):
    """A function that reads arrays and the entries of maps, which come in blocks."""
    def read(input):
        items = []
        while True:
            count = input.long()
            if count == 0:
                return items
            if count < 0:
                count, size = -count, input.long()
                if size < 0:
                    raise Malformed
            items += [read_item(input) for _ in range(count)]

    return read


def read_bytes(input):
    return input.take(input.long())


def name(key):
    """A key of a map. One that is no UTF-8 equals no name."""
    return key.decode("utf-8", "surrogateescape")


def decimal(unscaled, scale):
    if not unscaled:
        return Opaque()
    return Number(plain(Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale)))


def string(input):
    found = read_bytes(input)
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError:
        # Malformed only if the mapping needs it.
        return NoText()


def bytes_as_text(input):
    try:
        return read_bytes(input).decode("utf-8")
    except UnicodeDecodeError:
        return Opaque()


def boolean(input):
    (byte,) = input.take(1)
    if byte > 1:
        raise Malformed
    return byte == 1


PRIMITIVES = {
    "null": lambda _input: None,
    "boolean": boolean,
    "int": lambda input: Number(input.integer(5, 32)),
    "long": lambda input: Number(input.long()),
    "float": lambda input: shortest(struct.unpack("<f", input.take(4))[0], 4),
    "double": lambda input: shortest(struct.unpack("<d", input.take(8))[0], 8),
    "bytes": bytes_as_text,
    "string": string,
}


class Records:
    """Reads records whose value begins with the id of their schema."""

    def __init__(self, schemas):
        self.schemas = {row["id"]: Schema(row["schema"]) for row in schemas}

    def parse(self, value):
        """The object in the value of a record."""
        if not value:
            raise Bad("empty")
        if len(value) < 5 or value[0] != 0:
            raise Bad("no_schema_id")
        schema = self.schemas.get(int.from_bytes(value[1:5], "big"))
        if schema is None:
            raise Bad("unknown_schema")
        return schema.read(value[5:])
