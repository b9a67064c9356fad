"""Collects problems, and prints all of them at the end."""

import sys

_WRONG = []


def wrong(what):
    _WRONG.append(what)


def end():
    for what in _WRONG:
        print(f"chart: {what}", file=sys.stderr)
    sys.exit(bool(_WRONG))
