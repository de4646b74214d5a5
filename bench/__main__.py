"""``python -m bench``: see ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench import report, report_gateway
from bench.environment import ROOT
from bench.rounds import Results, run

SECTIONS = ("throughput", "submission", "latency", "rest", "promises", "gateway", "embedding")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Sophia's queue side by side with its peers.")
    parser.add_argument("--only", default="", help=f"sections, comma-separated: {', '.join(SECTIONS)}")
    parser.add_argument("--peers", default="all", help="peers by name, comma-separated; 'none' for ours and the floors")
    parser.add_argument("--runs", type=int, default=5, help="rounds; the table shows medians")
    parser.add_argument("--quick", action="store_true", help="one round with few tasks; writes no document")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    parser.add_argument("--from-json", type=Path, help="measure nothing; write the document from these figures")
    options = parser.parse_args()
    if options.from_json:
        results = Results.read(options.from_json)
    else:
        sections = tuple(options.only.split(",")) if options.only else SECTIONS
        unknown = set(sections) - set(SECTIONS)
        if unknown:
            parser.error(f"no such section: {', '.join(sorted(unknown))}")
        started = time.monotonic()
        results = asyncio.run(run(sections, options.peers, 1 if options.quick else options.runs, quick=options.quick))
        print(f"took {(time.monotonic() - started) / 60:.1f} minutes")
    if options.json:
        options.json.write_text(json.dumps(results.to_json(), indent=1))
    text = report.document(results)
    print(text)
    whole: Any = results.complete and not options.quick
    if whole or options.from_json:
        (ROOT / "docs" / "benchmarks.md").write_text(text)
        (ROOT / "docs" / "images" / "benchmark.svg").write_text(report.chart(results))
        (ROOT / "docs" / "images" / "benchmark-gateway.svg").write_text(report_gateway.chart(results))


if __name__ == "__main__":
    main()
