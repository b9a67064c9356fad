"""Purchases with the fields of `spec.events`."""

import re
from decimal import ROUND_HALF_EVEN, Decimal

from condition import Condition
from avro import Records
from values import (MICRO, NUMBER, REASONS, Bad, Instant, NoText, Number, Object, group_key, is_text, money, parse, rfc3339,
                    since_1970, transaction_id, whole)

PER_SECOND = {"Seconds": 1, "Milliseconds": 10**3, "Microseconds": 10**6, "Nanoseconds": 10**9}


class Filtered(Exception):
    """The condition is not true for the record."""


def names_of(path):
    """The names of a path, and whether it starts at the record also within an element."""
    names = [quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|([^."]+)', path)]
    return (names[1:], True) if names[0] == "$" else (names, False)


class Field:
    """A field of a mapping."""

    def __init__(self, spec, of_record=False):
        self.names, self.of_record = names_of(spec["field"])
        self.of_record = self.of_record or of_record
        self.if_missing = spec.get("ifMissing")
        self.text = spec.get("text", False)
        self.scale = spec.get("scale", 0)

    def find(self, record, element):
        """The value; None if a name on the path is missing, or null. A repeated name on the path is an error."""
        found = record if self.of_record else element
        for name in self.names:
            if not isinstance(found, Object):
                return None
            if name in found.repeated:
                raise Bad("malformed_json")
            found = found.get(name)
        if isinstance(found, NoText):
            raise Bad("malformed_avro")
        return found

    def number(self, value, reason):
        """A number as written; in a string only if the field is text."""
        if isinstance(value, Number) or (self.text and is_text(value) and NUMBER.fullmatch(value)):
            return value
        raise Bad(reason)


class Mapping:
    """Reads records of a pipeline with `spec.events`."""

    def __init__(self, events, needs_id, schemas):
        format = events.get("format", {"type": "JSON"})["type"]
        if format not in ("JSON", "Avro"):
            raise ValueError(f"the oracle has no format {format}")
        self.parse = Records(schemas).parse if format == "Avro" else parse
        self.unit = events["timestamp"].get("unit", "RFC3339")
        if self.unit not in PER_SECOND and self.unit != "RFC3339":
            raise ValueError(f"the oracle has no unit {self.unit}")
        self.time = Field(events["timestamp"], True)
        self.id = Field(events["transactionId"], True) if needs_id else None
        self.dimensions = [Field(dimension) for dimension in events["dimensions"]]
        self.dimension_count = len(self.dimensions)
        self.quantity = Field(events["quantity"])
        self.has_price = "price" in events
        self.main = Field(events["price"] if self.has_price else events["amount"])
        self.sums = [Field(sum) for sum in events.get("sums", [])]
        self.allows_refunds = events.get("refunds", "Reject") == "Allow"
        self.where = Condition(events["where"]) if "where" in events else None
        self.explode = Field({"field": events["explode"]}, True) if "explode" in events else None
        self.is_exploded = self.explode is not None

    def read(self, value):
        """Time, id and purchases, or the first reason in the documented order."""
        record = self.parse(value)
        elements, problem = self.elements(record)
        self.check_names(record, elements)
        if self.where and self.where.test(record) is not True:
            raise Filtered
        reasons = {problem} if problem else set()
        time = self.tried(reasons, lambda: self.event_time(record))
        id = self.tried(reasons, lambda: self.transaction_id(record)) if self.id else None
        purchases = [self.purchase(record, element, reasons) for element in elements]
        if reasons:
            raise Bad(min(reasons, key=REASONS.index))
        return time, id, purchases

    def elements(self, record):
        """The objects that contain the purchases, and what is wrong with their array."""
        if not self.explode:
            return [record], None
        found = self.explode.find(record, record)
        if found is None:
            return [], "missing_field"
        if not isinstance(found, list):
            return [], "bad_items"
        return found, None if 1 <= len(found) <= 1000 else "bad_items"

    def check_names(self, record, elements):
        """Each name on the path of a field is unique in its object, also if the record is filtered."""
        fields = [self.time, *self.dimensions, self.quantity, self.main, *self.sums] + ([self.id] if self.id else [])
        for path in self.where.paths if self.where else []:
            where = Field({"field": "where"}, True)
            where.names = path
            fields.append(where)
        for element in elements or [None]:
            for field in fields:
                field.find(record, element)

    @staticmethod
    def tried(reasons, read):
        try:
            return read()
        except Bad as bad:
            reasons.add(bad.args[0])
            return None

    def event_time(self, record):
        found = self.time.find(record, None)
        if found is None:
            raise Bad("missing_field")
        if isinstance(found, Instant):
            return since_1970(found, found.per_second)
        if self.unit == "RFC3339":
            return rfc3339(found)
        return since_1970(self.time.number(found, "bad_timestamp"), PER_SECOND[self.unit])

    def transaction_id(self, record):
        found = self.id.find(record, None)
        if found is None:
            raise Bad("missing_field")
        return transaction_id(found)

    def purchase(self, record, element, reasons):
        """A purchase. All reasons against it are added."""
        def of(field):
            found = field.find(record, element)
            if found is None and field.if_missing is None:
                raise Bad("missing_field")
            return found

        def amount(field, can_be_negative=True):
            found = of(field)
            number = Decimal(field.if_missing if found is None else field.number(found, "bad_price")).scaleb(-field.scale)
            if number < 0 and not can_be_negative:
                raise Bad("bad_price")
            return money(number)

        def pieces():
            found = of(self.quantity)
            number = str(self.quantity.if_missing) if found is None else self.quantity.number(found, "bad_quantity")
            return whole(number, 1 - 2**31 if self.allows_refunds else 1)

        def dimension(field):
            found = of(field)
            if found is None:
                return field.if_missing
            if isinstance(found, bool):
                return "true" if found else "false"
            if not isinstance(found, str):
                raise Bad("bad_key")
            return str(group_key(found))

        price = self.tried(reasons, lambda: amount(self.main, self.allows_refunds))
        quantity = self.tried(reasons, pieces)
        sums = tuple(self.tried(reasons, lambda field=field: amount(field)) for field in self.sums)
        dimensions = tuple(self.tried(reasons, lambda field=field: dimension(field)) for field in self.dimensions)
        if price is None or quantity is None:
            return None
        total = price * quantity if self.has_price else price
        # A refund has one sign: with both, it would count as a sale.
        if quantity < 0 and (price < 0 if self.has_price else total > 0):
            reasons.add("bad_quantity")
        if not self.has_price:
            price = (total / quantity).quantize(MICRO, ROUND_HALF_EVEN)
        return {"dimensions": dimensions, "price": abs(price), "quantity": quantity, "amount": total, "sums": sums}
