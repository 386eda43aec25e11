"""Relative links between the documents of the repository: the file exists, and so does the heading. scripts/site checks
the same in the site."""
import functools
import os
import pathlib
import re
import subprocess
import unicodedata
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def listed(*patterns):
    """The files of the repository, including those that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    output = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True).stdout
    return [name for name in output.split("\0") if name and (ROOT / name).exists()]


FILES = set(listed())
DIRECTORIES = {str(parent) for name in FILES for parent in pathlib.PurePosixPath(name).parents}
DOCUMENTS = sorted(name for name in FILES if name.endswith(".md"))


def prose(text):
    """The text without blocks of code and comments."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"^( *)(```+|~~~+).*?^ *\2[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text):
    text = re.sub(r"(`+)(?:(?!`).)+?\1", "`code`", prose(text), flags=re.DOTALL)
    for inline, reference, html in re.findall(
            r"\]\(\s*<?([^)\s>]*)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:[ \t]+(\S+)|\b(?:href|src)=\"([^\"]*)\"", text, re.MULTILINE):
        yield inline or reference or html


def slug(heading):
    """The anchor that GitHub and mdBook give to a heading."""
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    kept = (letter for letter in heading if letter in "-_ " or unicodedata.category(letter)[0] in "LMN")
    return "".join(kept).replace(" ", "-")


@functools.cache
def anchors(name):
    found, counts = set(), {}
    text = prose((ROOT / name).read_text())
    for heading in re.findall(r"^#{1,6} +(.*?)(?: +#+)?$", text, re.MULTILINE):
        anchor = slug(heading)
        count = counts[anchor] = counts.get(anchor, -1) + 1
        found.add(f"{anchor}-{count}" if count else anchor)
    return found | set(re.findall(r"\b(?:id|name)=\"([^\"]+)\"", text))


def problem(source, link):
    """The error in a link of a document, or None."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = urllib.parse.unquote(parts.path)
    target = os.path.normpath(os.path.join(os.path.dirname(source), path)) if path else source
    if target not in FILES and target not in DIRECTORIES:
        return f"no file {target}"
    if parts.fragment and target.endswith(".md") and urllib.parse.unquote(parts.fragment) not in anchors(target):
        return f"no heading #{parts.fragment} in {target}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_to_files_and_headings(document):
    found = [(link, why) for link in links((ROOT / document).read_text()) if (why := problem(document, link))]
    assert found == []


@pytest.mark.parametrize("link, expected", [
    ("docs/protocol.md#closing", None),
    ("docs/protocol.md#no-such-heading", "no heading #no-such-heading in docs/protocol.md"),
    ("docs/no-such-file.md", "no file docs/no-such-file.md"),
    ("docs/adr", None),
    ("https://example.org/no-such-file.md", None),
])
def test_broken_links_are_found(link, expected):
    assert problem("README.md", link) == expected


def test_links_are_read_as_markdown_means_them():
    text = ('[a](b.md) ![c](<d.png>)\n[e]: f.md\n<img src="g.png">\n`[no](code.md)`\n```\n[no](block.md)\n```\n'
            "<!-- [no](comment.md) -->\n[two\nlines](h.md#i)\n")
    assert list(links(text)) == ["b.md", "d.png", "f.md", "g.png", "h.md#i"]


def test_every_document_is_one_chapter_of_the_site():
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    chapters = [os.path.normpath(os.path.join("docs", link)) for link in links(summary)]
    # The source of the chart's README, and files that are not documents.
    others = {name for name in DOCUMENTS if name.startswith(".github/")} | {"docs/SUMMARY.md", "charts/warren/README.head.md"}
    assert sorted(chapters) == sorted(set(DOCUMENTS) - others)
