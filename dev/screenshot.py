"""Runs a command in a pseudo terminal for some seconds and writes its last screen as an SVG.

    screenshot.py --columns N --lines N --seconds N --title TEXT --output FILE -- COMMAND...

The command is interrupted at the end, as by Ctrl-C. The SVG has its own dark background and names no font file.
"""

import argparse
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from html import escape
from pathlib import Path

import pyte
from pyte.graphics import FG_BG_256

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
SIZE = 14
CELL = 8.43  # width of a character at that size
LINE = 19
MARGIN = 18
BAR = 34

BACKGROUND = "#12161c"
FRAME = "#2b323c"
DEFAULT = "#d5dae1"
DIM = "#8b95a3"
COLOURS = {
    "black": "#5c6673",
    "red": "#f07178",
    "green": "#8fca7d",
    "brown": "#e3b866",
    "blue": "#6cb0f5",
    "magenta": "#cb97e8",
    "cyan": "#62c6c9",
    "white": "#eef1f5",
}

# pyte names the 16 colours of the palette of 256 by their values.
PALETTE = {value: colour for value, colour in zip(FG_BG_256, [*COLOURS, DIM, *[*COLOURS][1:]], strict=False)}

# Parts of a cell that a character fills: left, top, right and bottom, from 0 to 1. Fonts leave gaps between such characters.
SHAPES = {chr(0x2590 - eighths): [(0, 0, eighths / 8, 1)] for eighths in range(1, 9)}
SHAPES |= {chr(0x2580 + eighths): [(0, 1 - eighths / 8, 1, 1)] for eighths in range(1, 8)}
RIGHT, LEFT, DOWN, UP = (0.5, 0.47, 1, 0.53), (0, 0.47, 0.5, 0.53), (0.44, 0.5, 0.56, 1), (0.44, 0, 0.56, 0.5)
SHAPES |= {"─": [(0, 0.47, 1, 0.53)], "│": [(0.44, 0, 0.56, 1)]}
SHAPES |= {"┌": [RIGHT, DOWN], "┐": [LEFT, DOWN], "└": [RIGHT, UP], "┘": [LEFT, UP]}


def resize(descriptor, lines, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def run(command, lines, columns, seconds):
    """The last screen that did not change for 50 ms, as lines of (character, colour, bold)."""
    pid, terminal = pty.fork()
    if pid == 0:
        # The size must be there before the first output.
        resize(sys.stdout.fileno(), lines, columns)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    cells, end, interrupted = None, time.monotonic() + seconds, False
    while True:
        if not interrupted and time.monotonic() > end:
            os.kill(pid, signal.SIGINT)
            interrupted = True
        ready, _, _ = select.select([terminal], [], [], 0.05)
        if not ready:
            if not interrupted:
                cells = copy(screen)
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            data = b""
        if not data:
            break
        stream.feed(data)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0 or cells is None or not interrupted:
        sys.exit("the command failed:\n" + "\n".join(line.rstrip() for line in screen.display))
    return cells


def copy(screen):
    rows = []
    for y in range(screen.lines):
        row = [screen.buffer[y][x] for x in range(screen.columns)]
        rows.append([(cell.data or " ", cell.fg, cell.bold) for cell in row])
    while rows and all(cell[0] == " " for cell in rows[-1]):
        rows.pop()
    return rows


def runs(row):
    """Pieces of a row with one style and without two blanks in a row: (column, text, colour, bold)."""
    column = 0
    while column < len(row):
        text, style = "", row[column][1:]
        start = column
        while column < len(row) and row[column][1:] == style and not text.endswith("  "):
            text += row[column][0]
            column += 1
        left = len(text) - len(text.lstrip())
        if text.strip():
            yield start + left, text.strip(), *style


def colour(name):
    if name == "default":
        return DEFAULT
    name = PALETTE.get(name, name).removeprefix("bright")
    return COLOURS.get(name, name if name.startswith("#") else DEFAULT)


def shapes(row, top):
    """Rectangles for the characters of a row that are shapes; equal neighbours share one."""
    column = 0
    while column < len(row):
        first, (text, name, _) = column, row[column]
        while column < len(row) and row[column][:2] == (text, name):
            column += 1
            if SHAPES.get(text, [(1,)])[0][0] != 0 or SHAPES[text][0][2] != 1:
                break
        for left, upper, right, lower in SHAPES.get(text, []):
            x, width = MARGIN + (first + left) * CELL, (column - first - 1 + right - left) * CELL
            yield (
                f'<rect x="{x:.1f}" y="{top + upper * LINE:.1f}" width="{width:.1f}" height="{(lower - upper) * LINE:.1f}"'
                f' fill="{DIM if text in "─│┌┐└┘" else colour(name)}"/>'
            )


def svg(cells, columns, title):
    width = round(columns * CELL + 2 * MARGIN)
    height = BAR + len(cells) * LINE + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="9" fill="{BACKGROUND}" stroke="{FRAME}"/>',
    ]
    for i, dot in enumerate(("#f07178", "#e3b866", "#8fca7d")):
        out.append(f'<circle cx="{20 + 18 * i}" cy="17" r="5.5" fill="{dot}"/>')
    out.append(f'<g font-family="{FONT}" font-size="{SIZE}" xml:space="preserve">')
    out.append(f'<text x="{width / 2:g}" y="22" text-anchor="middle" fill="{DIM}">{escape(title)}</text>')
    for y, row in enumerate(cells):
        out.extend(shapes(row, BAR + y * LINE))
        for column, text, name, bold in runs([(" ", *cell[1:]) if cell[0] in SHAPES else cell for cell in row]):
            x, baseline = MARGIN + column * CELL, BAR + y * LINE + 14
            # The length keeps columns in line whichever font the viewer has.
            length = f' textLength="{len(text) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"' if len(text) > 1 else ""
            weight = ' font-weight="bold"' if bold else ""
            out.append(f'<text x="{x:.1f}" y="{baseline}"{length} fill="{colour(name)}"{weight}>{escape(text)}</text>')
    return "\n".join([*out, "</g>", "</svg>", ""])


def main():
    parser = argparse.ArgumentParser()
    for name in ("--columns", "--lines"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    cells = run(args.command, args.lines, args.columns, args.seconds)
    args.output.write_text(svg(cells, args.columns, args.title))


main()
