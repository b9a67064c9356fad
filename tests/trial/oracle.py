"""Recomputes a round of the trial from its records, and compares the result with the tables.

It is written from docs/reference/events.md and docs/explanation/lateness.md, with Python's own json, decimal and datetime. It
shares no code and no library with the engine, with `retail verify` and with its oracle.

Input: JSON lines on standard input, each with "table" and "row". Times are microseconds since 1970, bytes are hexadecimal.
Output: one JSON object. Exit code 0 if nothing differs.

Taken on trust: the proofs of idleness, and with them which partitions a decision to close windows has passed. Everything
else in `closes` and `fate_rules` is recomputed from the records.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, setcontext

setcontext(Context(prec=200))
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICRO = Decimal("0.000001")
KNOWN = {"category", "payment_method", "quantity", "price", "timestamp", "ts",
         "transaction_id", "customer_id", "brand", "product_name"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


class Bad(Exception):
    """The record is invalid; the argument is the reason."""


class Number(str):
    """A JSON number as it is written."""


def parse(value):
    """The fields of the object in a value."""
    if not value:
        raise Bad("empty")

    def no_constant(_text):
        raise ValueError

    def unique(pairs):
        names = Counter(name for name, _ in pairs)
        if any(names[name] > 1 for name in KNOWN):
            raise ValueError
        return dict(pairs)

    try:
        found = json.loads(value.decode("utf-8"), object_pairs_hook=unique, parse_int=Number, parse_float=Number,
                           parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Bad("malformed_json") from None
    if not isinstance(found, dict):
        raise Bad("malformed_json")
    return found


def event_time(value):
    """Microseconds since 1970."""
    if isinstance(value, Number):
        seconds = Decimal(value)
        if seconds < 0 or seconds >= Decimal(253402300800):
            raise Bad("bad_timestamp")
        return int((seconds * 1000000).to_integral_value(ROUND_DOWN))
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
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


def purchase(value):
    """The fields of a purchase, or the first reason in the documented order."""
    fields = parse(value)
    time = fields["timestamp"] if "timestamp" in fields else fields.get("ts", Bad)
    needed = [time] + [fields.get(name, Bad) for name in ("price", "quantity", "category", "payment_method")]
    if Bad in needed:
        raise Bad("missing_field")
    time, price, quantity, category, method = needed
    time = event_time(time)
    if not isinstance(price, Number) or not 0 <= Decimal(price) < 10**12:
        raise Bad("bad_price")
    if not isinstance(quantity, Number) or not re.fullmatch(r"\d+", quantity) or not 1 <= int(quantity) < 2**31:
        raise Bad("bad_quantity")
    for key in (category, method):
        if not isinstance(key, str) or isinstance(key, Number) or "\0" in key or not 1 <= len(key.encode()) <= 128:
            raise Bad("bad_key")
    price = Decimal(price).quantize(MICRO, ROUND_HALF_EVEN)
    return {"time": time, "price": price, "quantity": int(quantity), "category": category, "method": method,
            "amount": price * int(quantity)}


class Round:
    """The tables of a round, and their expected contents."""

    def __init__(self, lines):
        self.tables = defaultdict(list)
        for line in lines:
            entry = json.loads(line, parse_float=Decimal)
            self.tables[entry["table"]].append(entry["row"])
        (self.settings,) = self.tables["settings"]
        self.differences = []
        self.rows = defaultdict(lambda: [0, Decimal(0), 0, Decimal(0)])
        self.letters = {}
        self.ledgers = {}
        self.observed = defaultdict(list)

    def differs(self, what, found, expected):
        if found != expected:
            self.differences.append(f"{what}: found {found}, expected {expected}")

    def replay(self):
        """Judges all records, partition by partition."""
        records = defaultdict(list)
        for record in self.tables["records"]:
            records[record["partition"]].append(record)
        for progress in self.tables["partition_progress"]:
            partition = progress["partition"]
            rules = sorted((r for r in self.tables["fate_rules"] if r["partition"] == partition), key=lambda r: r["offset"])
            self.replay_partition(partition, progress, sorted(records[partition], key=lambda r: r["offset"]), rules)

    def replay_partition(self, partition, progress, records, rules):
        ledger = Counter()
        latest, expected_offset, rule = None, progress["start_offset"], 0
        self.observed[partition].append((expected_offset, None))
        for record in records:
            offset = record["offset"]
            if not progress["start_offset"] <= offset < progress["next_offset"]:
                continue
            ledger["gaps"] += offset - expected_offset
            expected_offset = offset + 1
            while rule + 1 < len(rules) and rules[rule + 1]["offset"] <= offset:
                rule += 1
            fate, latest = self.judge(record, latest, rules[rule], ledger)
            ledger[fate] += 1
            self.observed[partition].append((offset + 1, latest))
        ledger["gaps"] += progress["next_offset"] - expected_offset
        for fate in ("applied", "late", "invalid", "future", "gaps"):
            self.differs(f"partition {partition}, {fate}", progress[fate], ledger[fate])
        self.differs(f"partition {partition}, max_observed_time", progress["max_observed_time"], latest)
        stored = sum(1 for letter in self.letters if letter[0] == partition)
        self.differs(f"partition {partition}, letters", progress["letters"], stored)

    def judge(self, record, latest, rule, ledger):
        """The fate of a record, and the latest observed time after it."""
        millis = record["timestamp_ms"]
        payload = None if record["value"] is None else bytes.fromhex(record["value"])
        letter = {"record_time": None if millis is None else millis * 1000, "payload": payload}

        def dead(reason, event=None, missed_by=None):
            event = event or {}
            self.letters[record["partition"], record["offset"]] = dict(
                letter, reason=reason, event_time=event.get("time"), d1=event.get("category"), d2=event.get("method"),
                quantity=event.get("quantity"), amount=event.get("amount"), missed_by=missed_by)

        try:
            event = purchase(payload)
        except Bad as bad:
            dead(bad.args[0])
            return "invalid", latest
        if millis is None and (latest is None or event["time"] > latest):
            dead("no_record_time", event)
            return "invalid", latest
        if millis is not None and event["time"] > millis * 1000 + rule["max_future"]:
            dead("future", event)
            return "future", latest
        floor = rule["lateness_floor"]
        bound = floor if latest is None else max(floor, latest - self.settings["delay"])
        observed = event["time"] if millis is None else min(event["time"], millis * 1000)
        latest = observed if latest is None else max(latest, observed)
        start = event["time"] // self.settings["window"] * self.settings["window"]
        end = start + self.settings["window"]
        if end <= bound:
            if rule["keeps_late"]:
                dead("late", event, bound - end)
            return "late", latest
        row = self.rows[start, event["category"], event["method"]]
        row[0] += 1
        row[1] += event["price"]
        row[2] += event["quantity"]
        row[3] += event["amount"]
        return "applied", latest

    def check_rows(self):
        closed_until = self.settings["closed_until"]
        running, totals, expected = Counter(), Counter(), {}
        for start, category, method in sorted(self.rows):
            events, prices, quantity, amount = self.rows[start, category, method]
            running[category, method] += amount
            end = start + self.settings["window"]
            if end <= closed_until:
                totals[category, method] += amount
            expected[start, category, method] = {
                "window_end": end, "events": events, "total_quantity": quantity, "total_amount": amount,
                "avg_price": (prices / events).quantize(MICRO, ROUND_HALF_UP),
                "running_total": running[category, method], "final": end <= closed_until}
        found = {(r.pop("window_start"), r.pop("category"), r.pop("payment_method")): r for r in self.tables["retail"]}
        self.differs_by_key("row", found, expected)
        totals = {key: {"total_amount": total} for key, total in totals.items()}
        found = {(r["category"], r["payment_method"]): {"total_amount": r["total_amount"]}
                 for r in self.tables["retail_totals"] if r["total_amount"] != 0 or (r["category"], r["payment_method"]) in totals}
        self.differs_by_key("total", found, totals)

    def check_letters(self):
        found = {}
        for letter in self.tables["dead_letter"]:
            payload = letter.pop("payload")
            letter["payload"] = None if payload is None else bytes.fromhex(payload)
            found[letter.pop("partition"), letter.pop("offset")] = letter
        self.differs_by_key("dead letter", found, self.letters)

    def check_closes(self):
        """Each decision: the state of each partition is that of its records, and the windows are behind the watermark."""
        for close in self.tables["closes"]:
            name = f"close until {close['closed_until']}"
            watermarks = []
            for partition, offset, latest, idle in zip(close["partitions"], close["next_offsets"], close["max_observed"],
                                                       close["idle_until"]):
                seen = next((time for end, time in reversed(self.observed[partition]) if end <= offset), None)
                self.differs(f"{name}, partition {partition}, observed time at {offset}", latest, seen)
                if idle is None:
                    watermarks.append(None if seen is None else seen - self.settings["delay"])
            if None in watermarks:
                self.differences.append(f"{name}: a partition without events was not idle")
            elif watermarks and close["closed_until"] > min(watermarks):
                self.differences.append(f"{name}: the watermark of the partitions that were not idle is {min(watermarks)}")
        decided = {close["closed_until"] for close in self.tables["closes"]} | {0}
        for rule in self.tables["fate_rules"]:
            if rule["lateness_floor"] not in decided:
                self.differences.append(f"floor of partition {rule['partition']}: {rule['lateness_floor']} was not decided")

    def differs_by_key(self, what, found, expected):
        for key in found.keys() | expected.keys():
            self.differs(f"{what} {key}", found.get(key), expected.get(key))


def main():
    played = Round(sys.stdin)
    played.replay()
    played.check_rows()
    played.check_letters()
    played.check_closes()
    differences = sorted(played.differences)
    json.dump({"rows": len(played.rows), "records": len(played.tables["records"]), "letters": len(played.letters),
               "closes": len(played.tables["closes"]), "differences": len(differences), "first": differences[:20]}, sys.stdout)
    sys.exit(1 if differences else 0)


main()
