"""Tests of `decode`, with the same cases as the tests of the pipeline's decoder."""

from datetime import datetime, timezone
from decimal import Decimal

import pytest

from stream import decode

PURCHASE = {
    "category": '"Makeup"',
    "payment_method": '"COD"',
    "quantity": "3",
    "price": "19.99",
    "timestamp": '"2025-01-01T00:00:00.5Z"',
}


def purchase(**changed):
    """Returns a purchase as bytes, with changed fields. None removes a field."""
    fields = {name: text for name, text in (PURCHASE | changed).items() if text is not None}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode("utf-8", "surrogatepass")


def micros(text):
    if text is None:
        return "bad_timestamp"
    time = datetime.fromisoformat(text).replace(tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (time.days * 86_400 + time.seconds) * 1_000_000 + time.microseconds


def test_a_purchase_is_read_exactly():
    assert decode(purchase()) == (1_735_689_600_500_000, "Makeup", "COD", 3, Decimal("59.97"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b" ", "malformed_json"),
        (b"GET / HTTP/1.1", "malformed_json"),
        (b"[]", "malformed_json"),
        (b"\xef\xbb\xbf" + purchase(), "malformed_json"),
        (purchase().decode().encode("utf-16"), "malformed_json"),
        (purchase(brand='"\xff"').decode().encode("latin-1"), "malformed_json"),
        (purchase(brand="NaN"), "malformed_json"),
        (purchase()[:-1], "malformed_json"),
        (purchase()[:-1] + b', "price": 1}', "malformed_json"),
        (purchase()[:-1] + b', "pri\\u0063e": 1}', "malformed_json"),
        (purchase(price=None), "missing_field"),
        (purchase(timestamp="null", ts="1735689600"), "bad_timestamp"),
        (purchase(timestamp="1", price='"1"', quantity="0", category="1"), "bad_price"),
        (purchase(price="-1"), "bad_price"),
        (purchase(price="1e12"), "bad_price"),
        (purchase(quantity="3.0"), "bad_quantity"),
        (purchase(quantity="-0"), "bad_quantity"),
        (purchase(quantity="2147483648"), "bad_quantity"),
        (purchase(category="7"), "bad_key"),
        (purchase(category='""'), "bad_key"),
        (purchase(category='"a\\u0000"'), "bad_key"),
        (purchase(category='"\\ud800"'), "bad_key"),
        (purchase(payment_method='"' + "é" * 65 + '"'), "bad_key"),
    ],
)
def test_invalid_value_has_a_reason(value, reason):
    assert decode(value) == reason


def test_unknown_fields_may_repeat_and_nest():
    assert decode(purchase(note='{"price": 1, "price": 2}')[:-1] + b', "note": []}') == decode(purchase())


@pytest.mark.parametrize(
    ("price", "millionths"),
    [
        ("-0.0", 0),
        ("19.990000000000002", 19_990_000),
        ("0.0000015", 2),
        ("0.0000025", 2),
        ("0.00000250000000000000000000000000000000001", 3),
        ("12.5E-1", 1_250_000),
        ("999999999999.9999999", 10**18),
        ("1e-99999999999999999999999999", 0),
        ("0e99999999999999999999999999", 0),
        ("0.000000000000000000000000000001e30", 1_000_000),
    ],
)
def test_prices_round_half_even_to_six_decimals(price, millionths):
    assert decode(purchase(price=price, quantity="1"))[4] * 1_000_000 == millionths


@pytest.mark.parametrize("price", ["-0.0000001", "-1e-99999999999999999999999999", "1e99999999999999999999999999"])
def test_prices_out_of_range_are_bad(price):
    assert decode(purchase(price=price)) == "bad_price"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57"),
        ("1990-12-31T23:59:60Z", "1991-01-01T00:00:00"),
        ("1990-12-31T15:59:60.25-08:00", "1991-01-01T00:00:00.250000"),
        ("1990-12-31T15:58:60-08:00", None),
        ("1937-01-01T12:00:27.87+00:20", None),
        ("2024-02-29 00:00:00.123456789z", "2024-02-29T00:00:00.123456"),
        ("2100-02-29T00:00:00Z", None),
        ("1970-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("0000-01-01T00:00:00Z", None),
        ("2025-01-01T00:00:00", None),
        ("2025-01-01T00:00:00.1234567890Z", None),
        ("2025-01-01T00:00:00+24:00", None),
        ("2025-01-01T24:00:00Z", None),
        ("2025-01-01T00:00:00Z\\n", None),
    ],
)
def test_times_are_rfc_3339_with_an_offset(text, expected):
    read = decode(purchase(timestamp=f'"{text}"'))
    assert (read if isinstance(read, str) else read[0]) == micros(expected)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [("1700000000.1234569", 1_700_000_000_123_456), ("1.7e9", 1_700_000_000_000_000), ("-0", 0), ("-0.0000001", None)],
)
def test_unix_seconds_are_truncated_to_microseconds(seconds, expected):
    read = decode(purchase(timestamp=None, ts=seconds))
    assert (read if isinstance(read, str) else read[0]) == (expected if expected is not None else "bad_timestamp")
