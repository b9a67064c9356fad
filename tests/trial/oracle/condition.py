"""Conditions of `spec.events.where`: the part of CEL that docs/reference/events.md lists.

A condition is True, False, or None for unknown.
"""

import json
import re
from decimal import Decimal

from values import Number, Object

TOKENS = re.compile(r"""\s*(?:(?P<op>\|\||&&|==|!=|<=|>=|[<>!()\[\],.])
                        |(?P<number>-?\d+(\.\d+)?([eE][+-]?\d+)?)
                        |(?P<text>'[^'\\]*'|"[^"\\]*")
                        |(?P<name>[A-Za-z_$][A-Za-z0-9_]*))""", re.VERBOSE)
ORDERS = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}
METHODS = {"startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__}
CONSTANTS = {"true": True, "false": False, "null": None}
MISSING = object()


def kind_of(value):
    """The type of a value, by which a comparison is unknown."""
    for kind in (Number, Decimal, bool, str, type(None)):
        if isinstance(value, kind):
            return Decimal if kind is Number else kind
    return object


def comparable(value):
    return Decimal(value) if isinstance(value, Number) else value


class Condition:
    """A parsed condition."""

    def __init__(self, text):
        self.tokens, at = [], 0
        while at < len(text.rstrip()):
            token = TOKENS.match(text, at)
            if not token:
                raise ValueError(f"the oracle cannot read the condition at {text[at:]!r}")
            self.tokens.append((token.lastgroup, token[token.lastgroup]))
            at = token.end()
        self.paths = []
        self.test = self.either()
        if self.tokens:
            raise ValueError(f"the oracle cannot read the end of the condition: {self.tokens}")

    def next_is(self, *operators):
        return bool(self.tokens) and self.tokens[0] in [("op", operator) for operator in operators]

    def take(self, operator):
        if self.next_is(operator):
            self.tokens.pop(0)
            return True
        return False

    def need(self, operator):
        if not self.take(operator):
            raise ValueError(f"the condition lacks {operator} before {self.tokens}")

    def either(self):
        parts = [self.both()]
        while self.take("||"):
            parts.append(self.both())

        def test(record):
            found = [part(record) for part in parts]
            return True if True in found else None if None in found else False
        return test

    def both(self):
        parts = [self.single()]
        while self.take("&&"):
            parts.append(self.single())

        def test(record):
            found = [part(record) for part in parts]
            return False if False in found else None if None in found else True
        return test

    def single(self):
        if self.take("!"):
            inner = self.single()
            return lambda record: {True: False, False: True, None: None}[inner(record)]
        if self.take("("):
            inner = self.either()
            self.need(")")
            return inner
        names = self.path()
        if names == ["has"] and self.take("("):
            *parent, last = self.path()
            self.need(")")
            self.paths[-1:] = [parent + [last]]

            def has(record):
                found = find(record, parent)
                return last in found if isinstance(found, Object) else None
            return has
        if self.take("("):
            *names, method = names
            constant = self.constant()
            self.need(")")
            self.paths.append(names)

            def matches(record):
                found = find(record, names)
                return METHODS[method](found, constant) if kind_of(found) is str else None
            return matches
        self.paths.append(names)
        return self.comparison(names)

    def comparison(self, names):
        if self.tokens and self.tokens[0] == ("name", "in"):
            self.tokens.pop(0)
            self.need("[")
            constants = [self.constant()]
            while self.take(","):
                constants.append(self.constant())
            self.need("]")

            def is_one(record):
                found = [equal(find(record, names), constant) for constant in constants]
                return True if True in found else None if None in found else False
            return is_one
        if self.next_is("==", "!="):
            wanted = self.tokens.pop(0)[1] == "=="
            constant = self.constant()

            def compare(record):
                found = equal(find(record, names), constant)
                return None if found is None else found == wanted
            return compare
        if self.next_is(*ORDERS):
            order = ORDERS[self.tokens.pop(0)[1]]
            constant = self.constant()

            def sort(record):
                found = find(record, names)
                fits = kind_of(found) in (Decimal, str) and kind_of(found) is kind_of(constant)
                return order(comparable(found), constant) if fits else None
            return sort

        def is_true(record):
            found = find(record, names)
            return found if isinstance(found, bool) else None
        return is_true

    def path(self):
        names = []
        while True:
            kind, name = self.tokens.pop(0)
            if kind != "name":
                raise ValueError(f"the condition lacks a field before {name}")
            names.append(name)
            if not self.take("."):
                return names[1:] if names[0] == "$" else names

    def constant(self):
        kind, text = self.tokens.pop(0)
        if kind == "text":
            return json.loads(f'"{text[1:-1]}"') if '"' not in text[1:-1] else text[1:-1]
        if kind == "number":
            return Decimal(text)
        return CONSTANTS[text]


def find(record, names):
    """The value at a path, MISSING if a name on it is missing."""
    for name in names:
        if not isinstance(record, Object) or name not in record:
            return MISSING
        record = record[name]
    return record


def equal(found, constant):
    """Equality; unknown for a missing field or another type, except that every present value is null or not."""
    if found is MISSING:
        return None
    if constant is None:
        return found is None
    return comparable(found) == constant if kind_of(found) is kind_of(constant) else None
