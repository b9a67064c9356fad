#!/usr/bin/env python3
"""The site of the documents: `stage DIR` writes the sources of a book, `check DIR` checks the links of the built pages.

The pages keep their places in the repository, so that their links hold in both. docs/README.md is the table of contents.
"""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")
TARGET = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

BOOK = """\
[book]
title = "RetailPipeline"
language = "en"
src = "src"

# Without the renaming of README.md to index.html, which breaks links to README.md.
[build]
use-default-preprocessors = false

[output.html]
default-theme = "light"
preferred-dark-theme = "navy"
no-section-label = true
smart-punctuation = false
additional-css = ["wide.css"]

[output.html.search]
boost-title = 3
"""


def pages():
    """The Markdown files of the site."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    top = {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md", "bench/peers/README.md"}
    return [ROOT / name for name in listed if name.startswith("docs/") or name in top or re.fullmatch(r"charts/[^/]+/README.md", name)]


def chapters(index):
    """The table of contents: a part for each heading of docs/README.md, a chapter for each of its links."""
    seen = set()
    lines = ["# Summary", "", "[RetailPipeline](README.md)", ""]
    for line in index.read_text().splitlines():
        if line.startswith("## "):
            lines += ["", f"# {line[3:]}", ""]
        for title, target in LINK.findall(line):
            page = (index.parent / target).resolve().relative_to(ROOT)
            if page not in seen:
                seen.add(page)
                lines.append(f"- [{title[0].upper()}{title[1:]}]({page})")
    lines += ["", "# Project", ""]
    rest = sorted(page.relative_to(ROOT) for page in pages() if page.relative_to(ROOT) not in seen)
    for page in rest:
        if page != Path("README.md"):
            title = re.search(r"^# (.+)$", (ROOT / page).read_text(), flags=re.M)
            lines.append(f"- [{title[1] if title else page}]({page})")
    return "\n".join(lines) + "\n"


def stage(book):
    sources = book / "src"
    (book / "book.toml").write_text(BOOK)
    (book / "wide.css").write_text(":root { --content-max-width: 1000px }\n")  # tables of fields are wide
    for page in pages():
        copy(page, sources)
        for target in TARGET.findall(page.read_text()):
            linked = (page.parent / target).resolve()
            if linked.is_file() and linked.is_relative_to(ROOT):
                copy(linked, sources)
            elif linked.is_dir():
                for file in linked.iterdir():
                    if file.is_file():
                        copy(file, sources)
    (sources / "SUMMARY.md").write_text(chapters(ROOT / "docs/README.md"))


def copy(file, sources):
    place = sources / file.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)


class Page(HTMLParser):
    """The links of a page, and the places that other pages can link to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def check(site):
    found = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    if len(found) < 50:
        sys.exit(f"the site has only {len(found)} pages")
    wrong = 0
    for path, page in found.items():
        if path.name in ("print.html", "toc.html", "404.html"):
            continue
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            place = (path.parent / unquote(target)).resolve() if target else path
            if place.is_dir():
                place = place / "index.html" if (place / "index.html").exists() else place
            if not place.exists() or (anchor and place in found and unquote(anchor) not in found[place].ids):
                print(f"{path.relative_to(site)} links to {link}, which does not exist", file=sys.stderr)
                wrong += 1
    if wrong:
        sys.exit(f"{wrong} links of the site do not hold")


if __name__ == "__main__":
    {"stage": stage, "check": check}[sys.argv[1]](Path(sys.argv[2]).resolve())
