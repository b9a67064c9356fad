"""Reads individual purchases from the Kafka topic. The table contains only their sums.

`read` reads and decodes the offsets that the pipeline has consumed; the notebook decides their fate. `decode` follows the rules
of the pipeline to the last digit, and shares no code with it. Times are whole microseconds since 1970, so that comparisons are
exact. The module writes nothing: it commits no offset and joins no group.
"""

import json
import re
import time
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

import pandas
from confluent_kafka import OFFSET_INVALID, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

COLUMNS = ["partition", "offset", "record_time", "reason", "event_time", "category", "payment_method", "quantity", "amount"]

# Maximum wait for a message of a broker, in seconds.
PATIENCE = 30

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH = datetime(1970, 1, 1)
YEAR_10000 = 253_402_300_800 * SECOND
MICRO = Decimal("0.000001")
# Enough digits for sums of the largest quantity times the largest price. Only prices are rounded.
EXACT = Context(prec=100)
KNOWN = {
    "category", "payment_method", "quantity", "price", "timestamp", "ts", "transaction_id", "customer_id", "brand",
    "product_name",
}  # fmt: skip
RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


class Unreadable(Exception):
    """The topic cannot be read, or the consumed records were deleted."""


def read(bootstrap_servers, topic, ranges):
    """Reads `ranges`, a dict of partition: (first offset, offset after the last), into one DataFrame.

    The DataFrame has one row per record, ordered by partition and offset. `reason` is None for a purchase, else the reason of
    the rejection. An offset without a row is a gap: a transaction marker, an aborted or a compacted record.
    """
    errors = []
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            # The client requires a group id. Without a subscription it does not join the group.
            "group.id": "retail.notebook",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "check.crcs": True,
            # Errors go into the exception, not between the plots.
            "log_level": 0,
            "error_cb": errors.append,
        }
    )
    try:
        pending = {partition: end for partition, (start, end) in ranges.items() if start < end}
        for partition in pending:
            first, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE)
            if first > ranges[partition][0]:
                raise Unreadable(
                    f'partition {partition} of topic "{topic}" now begins at offset {first}: the consumed records before it were '
                    "deleted and cannot be read again"
                )
        consumer.assign([TopicPartition(topic, partition, ranges[partition][0]) for partition in pending])
        rows = [row for message in until(consumer, pending, errors) if (row := decoded(message))]
    except KafkaException as error:
        cause = errors[-1] if errors else error.args[0]
        raise Unreadable(f'topic "{topic}" at {bootstrap_servers}: {cause.str()}') from None
    finally:
        consumer.close()
    events = pandas.DataFrame(rows, columns=COLUMNS).sort_values(["partition", "offset"], ignore_index=True)
    return events.astype({"record_time": "Int64", "event_time": "Int64", "quantity": "Int64"})


def until(consumer, pending, errors):
    """Yields all messages before the end offsets in `pending`."""
    last_message = time.monotonic()
    while pending:
        for message in consumer.consume(10_000, timeout=0.1):
            last_message = time.monotonic()
            partition, error = message.partition(), message.error()
            if error is None:
                if message.offset() < pending.get(partition, 0):
                    yield message
                ended = message.offset() + 1 >= pending.get(partition, 0)
            elif error.code() == KafkaError._PARTITION_EOF:
                # The remaining offsets contain no record.
                ended = True
            else:
                raise KafkaException(error)
            if ended and pending.pop(partition, None):
                # Otherwise later records would fill the queues of the client.
                consumer.incremental_unassign([TopicPartition(message.topic(), partition, OFFSET_INVALID)])
        if time.monotonic() - last_message > PATIENCE:
            raise KafkaException(errors[-1] if errors else KafkaError(KafkaError._TIMED_OUT))


def decoded(message):
    kind, millis = message.timestamp()
    record_time = None if kind == TIMESTAMP_NOT_AVAILABLE or millis < 0 else millis * 1000
    purchase = decode(message.value())
    if isinstance(purchase, str):
        return message.partition(), message.offset(), record_time, purchase, None, None, None, None, None
    return message.partition(), message.offset(), record_time, None, *purchase


def decode(value):
    """Returns (event time, category, payment method, quantity, amount), or the reason for which `value` is rejected."""
    if not value:
        return "empty"
    try:
        # Decoded first, because json would also accept bytes in UTF-16.
        fields = json.loads(
            value.decode(), object_pairs_hook=Fields, parse_int=Number, parse_float=Number, parse_constant=refuse
        )
    except ValueError:
        return "malformed_json"
    if not isinstance(fields, Fields):
        return "malformed_json"
    names = [name for name, _ in fields]
    if any(names.count(name) > 1 for name in KNOWN.intersection(names)) or any(half_character(name) for name in names):
        return "malformed_json"
    fields = dict(fields)
    timestamp = "timestamp" if "timestamp" in fields else "ts"
    if not fields.keys() >= {"category", "payment_method", "quantity", "price", timestamp}:
        return "missing_field"
    if (event_time := instant(fields[timestamp])) is None:
        return "bad_timestamp"
    if (price := money(fields["price"])) is None:
        return "bad_price"
    if (quantity := pieces(fields["quantity"])) is None:
        return "bad_quantity"
    category, payment_method = fields["category"], fields["payment_method"]
    if not is_key(category) or not is_key(payment_method):
        return "bad_key"
    return event_time, category, payment_method, quantity, EXACT.multiply(price, quantity)


class Fields(list):
    """The names and values of a JSON object in their order, including repeated ones."""


class Number(str):
    """The text of a JSON number, with all digits."""


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def half_character(text):
    return any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False


def is_key(value):
    is_text = isinstance(value, str) and not isinstance(value, Number)
    return is_text and not half_character(value) and 1 <= len(value.encode()) <= 128 and "\0" not in value


def pieces(value):
    # Only digits: 3.0 and 3e0 are not accepted as integers.
    is_integer = isinstance(value, Number) and value.isdigit() and len(value) <= 10
    return int(value) if is_integer and 1 <= int(value) < 2**31 else None


def number(value):
    """A number from 0 to below 10^12, or None."""
    if not isinstance(value, Number):
        return None
    try:
        exact = Decimal(value)
    except InvalidOperation:
        # The exponent is out of range, so the number is zero, close to zero, or too large.
        mantissa, exponent = re.split("[eE]", value)
        nothing = not mantissa.strip("-0.")
        exact = Decimal(0) if nothing else Decimal(mantissa).scaleb(-1000 if exponent.startswith("-") else 1000, EXACT)
    return exact if 0 <= exact < 10**12 else None


def money(value):
    price = number(value)
    return None if price is None else price.quantize(MICRO, ROUND_HALF_EVEN, EXACT)


def instant(value):
    if isinstance(value, Number):
        seconds = number(value)
        micros = None if seconds is None else int(seconds.quantize(MICRO, ROUND_DOWN, EXACT).scaleb(6, EXACT))
    else:
        micros = rfc3339(value) if isinstance(value, str) else None
    return micros if micros is not None and 0 <= micros < YEAR_10000 else None


def rfc3339(text):
    if not (match := RFC3339.fullmatch(text)):
        return None
    *date_time, second, fraction, sign, hours, minutes = match.groups()
    leap = second == "60"
    try:
        local = datetime(*map(int, date_time), 59 if leap else int(second)) - EPOCH
    except ValueError:
        return None
    micros = (local.days * 86_400 + local.seconds + leap) * SECOND
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            return None
        micros -= (-1 if sign == "-" else 1) * (int(hours) * 60 + int(minutes)) * 60 * SECOND
    # A leap second is valid only at the end of a day in UTC, and is the first instant of the next day.
    if leap and micros % DAY != 0:
        return None
    return micros + int((fraction or "0").ljust(6, "0")[:6])
