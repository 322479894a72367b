"""Run the benchmarks: `python -m benchmarks [SUBJECT ...] [--case NAME] [--quick] [--json FILE] [--page] [--table]`."""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from benchmarks import page, targets
from benchmarks.cases import CASES
from benchmarks.timing import ROUNDS, machine

#: File of each subject; the floor is the last.
SUBJECTS = (
    "compile", "power_flow", "meshed", "capability", "market", "continuous_book", "baseline", "reading_files",
    "settle_files", "growth", "memory", "accuracy", "baseline_accuracy", "floor",
)  # fmt: skip
#: Subjects that write a table of the documentation.
WITH_TABLE = ("accuracy", "baseline_accuracy")
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run what was asked for and return the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS) + "; all by default")
    parser.add_argument("--case", choices=tuple(CASES), help="one case of power_flow, which is then the only subject")
    parser.add_argument(
        "--quick", action="store_true", help="every case once on small sizes: agreement; its times mean nothing"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {ROUNDS}")
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of flexcore and of peers that take any; default 2"
    )
    parser.add_argument("--json", type=Path, help="write the figures, machine and versions to this file")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} of the reference; not with --quick")
    parser.add_argument("--table", action="store_true", help="write the accuracy tables of the documentation")
    options = parser.parse_args(arguments)
    subjects = ["power_flow"] if options.case else options.subjects or list(SUBJECTS)
    if unknown := set(subjects) - set(SUBJECTS):
        parser.error(f"unknown subjects: {', '.join(sorted(unknown))}")
    if options.page and (options.quick or set(subjects) != set(SUBJECTS)):
        parser.error("--page needs a full run of all subjects")
    if options.table and (options.quick or not set(subjects) & set(WITH_TABLE)):
        parser.error("--table needs a full run of accuracy or baseline_accuracy")
    if not options.quick and options.rounds < ROUNDS:
        parser.error(f"a median of fewer than {ROUNDS} rounds is no figure")
    rounds = 1 if options.quick else options.rounds
    report: dict[str, Any] = {"quick": options.quick, "threads": options.threads, "rounds": rounds}
    report |= {"machine": machine(), "rows": []}
    print(page.heading(report))
    for name in subjects:
        subject = importlib.import_module(f"benchmarks.{name}")
        only = {"case": options.case} if options.case else {}
        rows = subject.run(threads=options.threads, quick=options.quick, rounds=rounds, **only)
        report["rows"] += rows
        print(page.section(name, rows), flush=True)
    if not options.quick:
        rows = targets.verdicts(report["rows"])
        report["rows"] += rows
        print(page.section("targets", rows))
    for name in set(subjects) & set(WITH_TABLE) if options.table else ():
        rows = [row for row in report["rows"] if row["name"].startswith(f"{name}/")]
        importlib.import_module(f"benchmarks.{name}").write_table(rows)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.page:
        PAGE.write_text(page.page(report), encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
