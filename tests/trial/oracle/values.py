"""JSON values, with numbers as written, and the values that fields of all records have in common.

Written from docs/reference/events.md, with Python's own json, decimal and datetime.
"""

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICRO = Decimal("0.000001")
LIMIT = 10**12
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
# The documented order, in which a record gets its reason.
REASONS = ["empty", "no_schema_id", "unknown_schema", "malformed_json", "malformed_avro", "missing_field", "bad_items", "bad_timestamp", "bad_price", "bad_quantity", "bad_key",
           "no_record_time"]


class Bad(Exception):
    """The record is invalid; the argument is the reason."""


class Number(str):
    """A JSON number as it is written."""


class Float(Number):
    """A number that was binary. Two of them can be almost equal: no dimension and no id."""


class Instant(Number):
    """A number of units since 1970, whose unit the record says."""

    def __new__(cls, number, per_second):
        made = super().__new__(cls, number)
        made.per_second = per_second
        return made


class Opaque:
    """A value that no field accepts."""


class NoText:
    """A text that is no UTF-8."""


class Object(dict):
    """A JSON object, with the names that it has more than once."""

    def __init__(self, pairs):
        super().__init__(pairs)
        names = Counter(name for name, _ in pairs)
        self.repeated = {name for name, count in names.items() if count > 1}


def parse(value):
    """The object in the value of a record."""
    if not value:
        raise Bad("empty")

    def no_constant(_text):
        raise ValueError

    try:
        found = json.loads(value.decode("utf-8"), object_pairs_hook=Object, parse_int=Number, parse_float=Number,
                           parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Bad("malformed_json") from None
    if not isinstance(found, Object):
        raise Bad("malformed_json")
    return found


def is_text(value):
    return isinstance(value, str) and not isinstance(value, Number)


def since_1970(number, per_second):
    """Microseconds since 1970 of a number in units of which a second has `per_second`."""
    number = Decimal(number) / per_second
    if number < 0 or number >= Decimal(253402300800):
        raise Bad("bad_timestamp")
    return int((number * 1000000).to_integral_value(ROUND_DOWN))


def rfc3339(value):
    """Microseconds since 1970 of a string with an offset."""
    if not is_text(value) or not RFC3339.fullmatch(value):
        raise Bad("bad_timestamp")
    text = re.sub(r"(\.\d{6})\d+", r"\1", value.upper().replace(" ", "T"))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Bad("bad_timestamp") from None
    micros = (time - EPOCH) // timedelta(microseconds=1)
    if micros < 0:
        raise Bad("bad_timestamp")
    return micros


def money(number):
    """An amount below 10^12, rounded half to even at six decimals."""
    if not -LIMIT < number < LIMIT:
        raise Bad("bad_price")
    return number.quantize(MICRO, ROUND_HALF_EVEN)


def whole(number, least):
    """A quantity: an integer in digits, not zero, from `least` on."""
    if not re.fullmatch(r"-?\d+", number) or not least <= int(number) < 2**31 or int(number) == 0:
        raise Bad("bad_quantity")
    return int(number)


def group_key(text):
    """A value of a dimension."""
    if isinstance(text, Float):
        raise Bad("bad_key")
    if "\0" in text or not 1 <= len(text.encode()) <= 128:
        raise Bad("bad_key")
    return text


def transaction_id(value):
    """An id: a text, or a number or boolean as written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or isinstance(value, Float) or not 1 <= len(value.encode()) <= 1024:
        raise Bad("bad_key")
    return str(value)
