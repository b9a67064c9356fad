"""The single purchases, read back from the Kafka topic: the table has only their sums.

`read` reads what the pipeline has consumed and decodes it; nothing is judged here, that is the notebook's part. `decode`
follows the same rules as the pipeline, to the last digit, but shares no code with it. Times are whole microseconds since
1970, so that comparing them is exact. Nothing is written: no offset is committed, no group is joined.
"""

import json
import re
import time
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

import pandas
from confluent_kafka import OFFSET_INVALID, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

COLUMNS = ["partition", "offset", "record_time", "reason", "event_time", "category", "payment_method", "quantity", "amount"]

# How long no broker may say anything before reading has failed, in seconds.
PATIENCE = 30

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH = datetime(1970, 1, 1)
YEAR_10000 = 253_402_300_800 * SECOND
MICRO = Decimal("0.000001")
# Room for the largest quantity times the largest price, and for sums of them: nothing is ever rounded but a price.
EXACT = Context(prec=100)
KNOWN = {
    "category", "payment_method", "quantity", "price", "timestamp", "ts", "transaction_id", "customer_id", "brand",
    "product_name",
}  # fmt: skip
RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


class Unreadable(Exception):
    """The topic cannot be read, or no longer has what was consumed."""


def read(bootstrap_servers, topic, ranges):
    """Reads `ranges`, a dict of partition: (first offset, offset after the last), into one DataFrame.

    One row per record, by partition and offset: `reason` says why it is no purchase, or is None. An offset without a row
    is a gap: a transaction marker, an aborted or a compacted record.
    """
    last_words = []
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            # The client wants a group for reading; without a subscription nobody joins it.
            "group.id": "retail.notebook",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "check.crcs": True,
            # Its complaints go into the exception, not between the plots.
            "log_level": 0,
            "error_cb": last_words.append,
        }
    )
    try:
        pending = {partition: end for partition, (start, end) in ranges.items() if start < end}
        for partition in pending:
            first, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE)
            if first > ranges[partition][0]:
                raise Unreadable(
                    f'partition {partition} of topic "{topic}" begins at offset {first} by now: the offsets before it were '
                    "consumed, but cannot be read again"
                )
        consumer.assign([TopicPartition(topic, partition, ranges[partition][0]) for partition in pending])
        rows = [row for message in until(consumer, pending, last_words) if (row := decoded(message))]
    except KafkaException as error:
        said = last_words[-1] if last_words else error.args[0]
        raise Unreadable(f'topic "{topic}" at {bootstrap_servers}: {said.str()}') from None
    finally:
        consumer.close()
    events = pandas.DataFrame(rows, columns=COLUMNS).sort_values(["partition", "offset"], ignore_index=True)
    return events.astype({"record_time": "Int64", "event_time": "Int64", "quantity": "Int64"})


def until(consumer, pending, last_words):
    """Every message before the ends in `pending`."""
    heard = time.monotonic()
    while pending:
        for message in consumer.consume(10_000, timeout=0.1):
            heard = time.monotonic()
            partition, error = message.partition(), message.error()
            if error is None:
                if message.offset() < pending.get(partition, 0):
                    yield message
                ended = message.offset() + 1 >= pending.get(partition, 0)
            elif error.code() == KafkaError._PARTITION_EOF:
                # What is left before the end holds no record.
                ended = True
            else:
                raise KafkaException(error)
            if ended and pending.pop(partition, None):
                # A stream that goes on would fill the client's queues with what nobody asked for.
                consumer.incremental_unassign([TopicPartition(message.topic(), partition, OFFSET_INVALID)])
        if time.monotonic() - heard > PATIENCE:
            raise KafkaException(last_words[-1] if last_words else KafkaError(KafkaError._TIMED_OUT))


def decoded(message):
    kind, millis = message.timestamp()
    record_time = None if kind == TIMESTAMP_NOT_AVAILABLE or millis < 0 else millis * 1000
    purchase = decode(message.value())
    if isinstance(purchase, str):
        return message.partition(), message.offset(), record_time, purchase, None, None, None, None, None
    return message.partition(), message.offset(), record_time, None, *purchase


def decode(value):
    """(event time, category, payment method, quantity, amount), or the reason why `value` is no purchase."""
    if not value:
        return "empty"
    try:
        # Bytes are not given to json, which would accept UTF-16, too.
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
    """A JSON object as it is written: all names and values, repeated ones included."""


class Number(str):
    """A JSON number as it is written: no digit is lost."""


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def half_character(text):
    return any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False


def is_key(value):
    is_text = isinstance(value, str) and not isinstance(value, Number)
    return is_text and not half_character(value) and 1 <= len(value.encode()) <= 128 and "\0" not in value


def pieces(value):
    # Digits alone: neither 3.0 nor 3e0 is an integer as producers of integers write them.
    is_integer = isinstance(value, Number) and value.isdigit() and len(value) <= 10
    return int(value) if is_integer and 1 <= int(value) < 2**31 else None


def number(value):
    """A number from 0 to below 10^12, or None."""
    if not isinstance(value, Number):
        return None
    try:
        exact = Decimal(value)
    except InvalidOperation:
        # An exponent beyond all sense; so the number is zero, or next to it, or too large.
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
    # A leap second is the first instant of the next day, and nowhere else.
    if leap and micros % DAY != 0:
        return None
    return micros + int((fraction or "0").ljust(6, "0")[:6])
