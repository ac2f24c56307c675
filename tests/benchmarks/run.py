"""Runs the benchmarks and writes docs/benchmarks.md.

    ./dev bench                  every domain
    ./dev bench hippo --quick    one domain, smaller sizes and shorter times, nothing written

The section of a domain that was not run stays as it is.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

Written by `./dev bench`. All implementations of a task run on the same arrays in one process and
take turns; given are the median and the quartiles, the ratio of the medians, and the share of the
machine's limits, which are measured in the same process. A result that differs from ours by more
than its tolerance, or a missed goal, makes the command fail.
"""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 for a disagreement or a missed goal."""
    domains = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("domain", nargs="*", help=f"of: {', '.join(domains)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, print only")
    parser.add_argument("--seconds", type=float, help="time for each implementation of a task")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args(arguments)
    for domain in options.domain:
        if domain not in domains:
            parser.error(f"unknown domain '{domain}'; there are: {', '.join(domains)}")

    from harness import measure

    failures = []
    for domain in options.domain or domains:
        module = importlib.import_module(f"bench_{domain}")
        seconds = options.seconds or (0.5 if options.quick else 3.0)
        report = measure(domain, module.cases(options.quick), seconds=seconds)
        failures += report.failures
        if not options.quick:
            _write(options.out, domain, report.markdown())
    for failure in failures:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _write(page: Path, domain: str, section: str) -> None:
    """Puts the section in the place of the domain's old one, or at the end."""
    text = page.read_text() if page.exists() else INTRODUCTION
    begin, end = f"<!-- begin {domain} -->", f"<!-- end {domain} -->"
    block = f"{begin}\n{section}{end}\n"
    old = re.compile(re.escape(begin) + ".*?" + re.escape(end) + "\n", re.DOTALL)
    text = old.sub(lambda _: block, text) if old.search(text) else f"{text.rstrip()}\n\n{block}"
    page.write_text(text)
    print(f"wrote {page}")


if __name__ == "__main__":
    sys.exit(main())
