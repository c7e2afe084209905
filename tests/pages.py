"""What the pages show: README.md, CONTRIBUTING.md, CHANGELOG.md and everything under docs/, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Each is about one library, which `make peers` installs; `others.md` is about several that it does not.
COMING_FROM = [page for page in sorted((ROOT / "docs" / "coming-from").glob("*.md")) if page.stem != "others"]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: what stands after the opening fence.
        title: of code for another library its name, else "".
        lines_before: of the page.
        text: between the fences.
    """

    language: str
    title: str
    lines_before: int
    text: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks, in order.

    Raises:
        ValueError: one in another form than ```language or ```language title="…", which would not be found elsewhere.
    """
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(("```", "~~~")):
            continue
        if start is not None:
            opening = re.fullmatch(r'```(\w+)(?: title="([^"]+)")?', lines[start])
            if opening is None or line != "```":
                raise ValueError(f"{page}:{start + 1}: {lines[start]!r} … {line!r}")
            text = "".join(f"{each}\n" for each in lines[start + 1 : number])
            found.append(Block(opening[1], opening[2] or "", start + 1, text))
            start = None
        else:
            start = number
    if start is not None:
        raise ValueError(f"{page}:{start + 1}: the block does not end")
    return found


def commands(block: Block) -> list[str]:
    """The commands of a shell block, without comments."""
    joined = block.text.replace("\\\n", " ")
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines()) if line]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as both GitHub and MkDocs make them of plain words."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def links(page: Path) -> list[str]:
    """The targets of all inline links outside of code."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<(https?://[^>\s]*)>", text)


@dataclass(frozen=True)
class OptionTable:
    """What a page says about the options of one call of another library.

    Attributes:
        rows: of the table, without its head.
        without: names on the line "No equivalent: `one`, `another` (why)."
    """

    rows: list[tuple[str, ...]]
    without: list[str]

    @property
    def names(self) -> list[str]:
        """Every option of the other library that is named."""
        return [*(name for row in self.rows for name in code(row[0])), *self.without]


def option_tables(page: Path) -> dict[str, OptionTable]:
    """Heading → the options below it. On a page with a part "Every option" it is that part that is read."""
    text = page.read_text(encoding="utf-8")
    part = re.search(r"^## Every option$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    found: dict[str, OptionTable] = {}
    for section in re.split(r"^#+ ", part[1] if part else text, flags=re.MULTILINE):
        heading, _, content = section.partition("\n")
        unlinked = re.sub(r"\]\([^)]*\)", "]", content)
        lines = re.findall(r"^No equivalent: (.*?)(?:\n\n|\Z)", unlinked, re.MULTILINE | re.DOTALL)
        without = [name for line in lines for name in code(re.sub(r"\([^()]*\)", "", line))]
        rows = table_rows(content)
        if rows or without:
            found[heading] = OptionTable(rows, without)
    return found


def table_rows(text: str) -> list[tuple[str, ...]]:
    """The rows of all tables, without their heads."""
    found: list[tuple[str, ...]] = []
    for line in text.splitlines():
        if re.fullmatch(r"\|[-:| ]+\|", line):
            found.pop()  # what is above the rule is the head
        elif line.startswith("|"):
            found.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return found


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)
