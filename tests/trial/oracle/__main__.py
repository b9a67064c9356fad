"""Recomputes a round of the trial from its records, and compares the result with the tables.

It is written from docs/reference/events.md, docs/reference/formats.md, docs/explanation/lateness.md and docs/explanation/duplicates.md, with Python's own
libraries. It shares no code and no library with the engine, with `retail verify` and with its oracle.

Input: JSON lines on standard input, each with "table" and "row". Times are microseconds since 1970, bytes are hexadecimal.
Output: one JSON object. Exit code 0 if nothing differs.

Taken on trust: the proofs of idleness, and with them which partitions a decision to close windows has passed. Everything
else in `closes` and `fate_rules` is recomputed from the records.
"""

import json
import sys
from collections import Counter, defaultdict
from decimal import ROUND_HALF_UP, Context, Decimal, setcontext

from duplicates import RecentIds
from mapping import Filtered, Mapping
from tutorial import Tutorial
from values import MICRO, Bad

setcontext(Context(prec=200))


class Row:
    """The sums of a group in a window."""

    def __init__(self):
        self.purchases, self.prices, self.quantity, self.amount, self.sums = 0, Decimal(0), 0, Decimal(0), None

    def add(self, purchase):
        self.purchases += 1
        self.prices += purchase["price"]
        self.quantity += purchase["quantity"]
        self.amount += purchase["amount"]
        before = self.sums or [0] * len(purchase["sums"])
        self.sums = [sum + more for sum, more in zip(before, purchase["sums"])]


class Round:
    """The tables of a round, and their expected contents."""

    def __init__(self, lines):
        self.tables = defaultdict(list)
        for line in lines:
            entry = json.loads(line, parse_float=Decimal)
            self.tables[entry["table"]].append(entry["row"])
        (self.settings,) = self.tables["settings"]
        (spec,) = self.tables["spec"]
        self.within = spec["within"]
        needs_id = self.within is not None
        self.reader = Mapping(spec["events"], needs_id, self.tables["schemas"]) if spec["events"] else Tutorial(needs_id)
        self.differences = []
        self.rows = defaultdict(Row)
        self.letters = {}
        self.counts = Counter()
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
        recent = RecentIds(self.within) if self.within else None
        self.observed[partition].append((expected_offset, None))
        for record in records:
            offset = record["offset"]
            if not progress["start_offset"] <= offset < progress["next_offset"]:
                continue
            ledger["gaps"] += offset - expected_offset
            expected_offset = offset + 1
            while rule + 1 < len(rules) and rules[rule + 1]["offset"] <= offset:
                rule += 1
                if recent:
                    recent.forget_before(rules[rule]["dedup_from"])
            fate, latest = self.judge(record, latest, rules[rule], recent)
            ledger[fate] += 1
            self.counts[fate] += 1
            self.observed[partition].append((offset + 1, latest))
        ledger["gaps"] += progress["next_offset"] - expected_offset
        for fate in ("applied", "late", "invalid", "future", "filtered", "duplicate", "gaps"):
            self.differs(f"partition {partition}, {fate}", progress[fate], ledger[fate])
        self.differs(f"partition {partition}, max_observed_time", progress["max_observed_time"], latest)
        stored = sum(1 for letter in self.letters if letter[0] == partition)
        self.differs(f"partition {partition}, letters", progress["letters"], stored)

    def judge(self, record, latest, rule, recent):
        """The fate of a record, and the latest observed time after it."""
        millis, offset = record["timestamp_ms"], record["offset"]
        payload = None if record["value"] is None else bytes.fromhex(record["value"])
        letter = {"record_time": None if millis is None else millis * 1000, "payload": payload}

        def dead(reason, time=None, purchases=(), missed_by=None):
            # Of several purchases, a dead letter has only the time.
            (purchase,) = purchases if len(purchases) == 1 and not self.reader.is_exploded else ({},)
            no_dimensions = (None,) * self.reader.dimension_count
            self.letters[record["partition"], offset] = dict(
                letter, reason=reason, event_time=time, dimensions=list(purchase.get("dimensions", no_dimensions)),
                quantity=purchase.get("quantity"), amount=purchase.get("amount"), missed_by=missed_by)

        try:
            time, id, purchases = self.reader.read(payload)
        except Filtered:
            return "filtered", latest
        except Bad as bad:
            dead(bad.args[0])
            return "invalid", latest
        if millis is None and (latest is None or time > latest):
            dead("no_record_time", time, purchases)
            return "invalid", latest
        if millis is not None and time > millis * 1000 + rule["max_future"]:
            dead("future", time, purchases)
            return "future", latest
        if recent and millis is not None and recent.is_duplicate(id, latest):
            recent.add(id, offset, latest)
            return "duplicate", latest
        floor = rule["lateness_floor"]
        bound = floor if latest is None else max(floor, latest - self.settings["delay"])
        observed = time if millis is None else min(time, millis * 1000)
        latest = observed if latest is None else max(latest, observed)
        if recent and millis is not None:
            recent.add(id, offset, latest)
        start = time // self.settings["window"] * self.settings["window"]
        end = start + self.settings["window"]
        if end <= bound:
            if rule["keeps_late"]:
                dead("late", time, purchases, bound - end)
            return "late", latest
        for purchase in purchases:
            self.rows[start, purchase["dimensions"]].add(purchase)
        return "applied", latest

    def check_rows(self):
        closed_until = self.settings["closed_until"]
        running, totals, expected = Counter(), Counter(), {}
        for start, group in sorted(self.rows):
            row = self.rows[start, group]
            running[group] += row.amount
            end = start + self.settings["window"]
            if end <= closed_until:
                totals[group] += row.amount
            expected[start, group] = {
                "window_end": end, "events": row.purchases, "total_quantity": row.quantity, "total_amount": row.amount,
                "avg_price": (row.prices / row.purchases).quantize(MICRO, ROUND_HALF_UP), "sums": row.sums,
                "running_total": running[group], "final": end <= closed_until}
        found = {(r.pop("window_start"), tuple(r.pop("dimensions"))): r for r in self.tables["retail"]}
        self.differs_by_key("row", found, expected)
        totals = {group: {"total_amount": total} for group, total in totals.items()}
        found = {tuple(r["dimensions"]): {"total_amount": r["total_amount"]} for r in self.tables["totals"]
                 if r["total_amount"] != 0 or tuple(r["dimensions"]) in totals}
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
               "filtered": played.counts["filtered"], "duplicates": played.counts["duplicate"], "closes": len(played.tables["closes"]), "differences": len(differences), "first": differences[:20]}, sys.stdout)
    sys.exit(1 if differences else 0)


main()
