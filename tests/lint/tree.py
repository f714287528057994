#!/usr/bin/python3
"""Rules of this tree that no compiler checks. Prints every breach as file:line: what; exit code 1 when there is one.

- Who may include whom. CMake enforces it between components for what a target links; this also covers headers that
  nobody compiles yet, and includes that go around the gate ("../shaper/x.hpp").
- No path of one developer's machine, and no address of a package registry.
- No file longer than a person reads at once.
"""

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent

MAY_INCLUDE = {
    "config": {"config"},
    "estimator": {"config", "estimator"},
    "shaper": {"config", "shaper"},
    "gateway": {"config", "estimator", "shaper", "gateway"},
}

LONGEST_FILE = 600

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"](?P<path>[^>"]+)[>"]')

# Put together from pieces, so that this file does not breach its own rule.
MACHINE_PATHS = re.compile("|".join([
    r"(?<![\w.])/" + "home/[a-z]", r"(?<![\w.])/" + "work/", r"(?<![\w.])/" + "Users/", r"(?<![\w.])/" + r"root/(?!sys|dev|proc|run|usr)\w",
    "deb\\.debian" + "\\.org", "registry\\.npmjs" + "\\.org", "pypi" + "\\.org", "proxy\\.golang" + "\\.org"]))

GENERATED_OR_FOREIGN = {"build", ".cache", ".git", "__pycache__"}
BINARY = {".pcap", ".xz", ".gz", ".png", ".bin"}


def project_files():
    for path in sorted(PROJECT.rglob("*")):
        inside = path.relative_to(PROJECT)
        if not GENERATED_OR_FOREIGN & set(inside.parts) and path.is_file() and not path.is_symlink():
            if path.suffix not in BINARY and "corpus" not in inside.parts:
                yield inside


def include_breach(inside, line):
    match = INCLUDE.match(line)
    component = inside.parts[0]
    if not match or component not in MAY_INCLUDE:
        return None
    target = match["path"]
    if target.startswith("../"):
        return f'"{target}" goes around the component\'s gate; write "{component}/..."'
    first = target.split("/")[0]
    if "/" in target and first in MAY_INCLUDE and first not in MAY_INCLUDE[component]:
        return f"{component} may not include {first}"
    return None


def breaches():
    for inside in project_files():
        try:
            lines = (PROJECT / inside).read_text().splitlines()
        except UnicodeDecodeError:
            yield inside, 1, "is not UTF-8 text"
            continue
        for number, line in enumerate(lines, 1):
            if wrong := include_breach(inside, line):
                yield inside, number, wrong
            if found := MACHINE_PATHS.search(line):
                yield inside, number, f"names a place outside the project: {found[0]}"
        if len(lines) > LONGEST_FILE and inside.suffix != ".md":
            yield inside, len(lines), f"is longer than {LONGEST_FILE} lines"


def main():
    found = list(breaches())
    for inside, number, wrong in found:
        print(f"{inside}:{number}: {wrong}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
