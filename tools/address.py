"""Keep every copy of the repository's public address equal to `repository.url` in `_config.yml`.

Usage::

    python tools/address.py check                                   list the copies; exit 1 if one differs
    python tools/address.py set https://github.com/OWNER/NAME       change the address everywhere

The site derives its launch buttons, edit links and own address from `_config.yml`. Copies remain where no
program reads that file: badges in README.md, CITATION.cff, pyproject.toml, the first cell of each chapter.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from attncourse.classroom.public_address import owner_and_name, site_address  # noqa: E402

CONFIG = "_config.yml"
CONFIG_URL = re.compile(r"^(repository:\n(?:[ \t].*\n|#.*\n)*?[ \t]+url:[ \t]*)(\S+)", re.MULTILINE)
# Examples in these are not copies of the address.
EXEMPT = ("tests/", "tools/address.py", "attncourse/classroom/public_address.py")
PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
# Places that can only mean this repository. Other links to github.com may lead to other people's.
OURS = (
    rf"mybinder\.org/v2/gh/(?P<owner>{PART})/(?P<name>{PART})",
    rf"mybinder\.org/badge/(?P<owner>{PART})/(?P<name>{PART})",
    rf"colab\.research\.google\.com/github/(?P<owner>{PART})/(?P<name>{PART})",
    rf"git\+https://github\.com/(?P<owner>{PART})/(?P<name>{PART})",
    rf"git clone https://github\.com/(?P<owner>{PART})/(?P<name>{PART})",
    rf"github\.com/(?P<owner>{PART})/(?P<name>{PART})/actions/workflows",
    rf"(?:repository-code|Repository|Issues)[\"' ]*[:=][\"' ]*https://github\.com/(?P<owner>{PART})/(?P<name>{PART})",
)
SITE = re.compile(rf"https://(?P<owner>{PART})\.github\.io/(?P<name>{PART})?")
ANY_REPOSITORY = re.compile(rf"github\.com/(?P<owner>{PART})/(?P<name>{PART})")


@dataclass(frozen=True)
class Copy:
    """One place where the address stands."""

    path: str
    line: int
    text: str
    agrees: bool


def repository_files(root: Path) -> list[str]:
    """Return the paths of every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    )
    # a file that was removed is still in git's list
    return [path for path in sorted(set(filter(None, listed.stdout.split("\0")))) if (root / path).is_file()]


def text_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield path and content of every text file that git tracks or would track."""
    for path in repository_files(root):
        if path.startswith(EXEMPT):
            continue
        try:
            yield path, (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def configured_address(root: Path) -> str:
    """Return `repository.url`.

    Raises
    ------
    ValueError
        If `_config.yml` has none.
    """
    found = CONFIG_URL.search((root / CONFIG).read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{CONFIG} must hold repository.url, got {CONFIG} without it")
    return found.group(2)


def find_copies(root: Path) -> list[Copy]:
    """Return every place where the address of this repository or of its site stands."""
    address = configured_address(root)
    owner, name = owner_and_name(address)
    site = site_address(address).rstrip("/")

    def parts(match: re.Match) -> tuple[str, str]:
        return match["owner"], (match["name"] or "").removesuffix(".git")

    def agrees(match: re.Match) -> bool:
        if ".github.io" in match.group():
            return match.group().rstrip("/") == site
        return parts(match) == (owner, name)

    copies = {}
    for path, text in text_files(root):
        found = [match for pattern in OURS for match in re.finditer(pattern, text)]
        # of other links, those to the same owner or of the same name are meant for this repository
        found += [
            match
            for pattern in (ANY_REPOSITORY, SITE)
            for match in pattern.finditer(text)
            if path == "CITATION.cff"
            or parts(match)[0].lower() == owner.lower()
            or parts(match)[1].lower() == name.lower()
        ]
        for match in found:
            line = text.count("\n", 0, match.start()) + 1
            copies[path, match.start("owner")] = Copy(path, line, match.group(), agrees(match))
    return [copies[key] for key in sorted(copies)]


def set_address(root: Path, address: str) -> list[str]:
    """Write another address into `_config.yml` and every copy; return the files that changed.

    Raises
    ------
    ValueError
        If the address is not of the form https://github.com/OWNER/NAME.
    """
    old, new = configured_address(root), "https://github.com/" + "/".join(owner_and_name(address))
    pairs = [("/".join(owner_and_name(old)), "/".join(owner_and_name(new)))]
    pairs.insert(0, (site_address(old).rstrip("/"), site_address(new).rstrip("/")))
    changed = []
    for path, text in text_files(root):
        after = text
        for before, instead in pairs:
            after = re.sub(rf"{re.escape(before)}(?![A-Za-z0-9_-])", instead, after, flags=re.IGNORECASE)
        if after != text:
            (root / path).write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(description="The repository's public address and its copies.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="list every copy; exit 1 if one differs from _config.yml")
    commands.add_parser("set", help="change the address everywhere").add_argument("address")
    options = parser.parse_args(arguments)
    if options.command == "set":
        try:
            changed = set_address(root, options.address)
        except ValueError as error:
            parser.error(str(error))
        print("\n".join(f"changed {path}" for path in changed) or "nothing to change")
    copies = find_copies(root)
    for copy in copies:
        print(f"{'ok     ' if copy.agrees else 'DIFFERS'} {copy.path}:{copy.line}: {copy.text}")
    print(f"address: {configured_address(root)}, site: {site_address(configured_address(root))}")
    return 0 if all(copy.agrees for copy in copies) else 1


if __name__ == "__main__":
    sys.exit(main())
