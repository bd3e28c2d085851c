"""``garage doctor``: whether this machine and its packages are fit for runs."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import click
import msgspec

from garage.cli import doctor_disk, doctor_machine, doctor_packages
from garage.cli.finding import Finding, Verdict
from garage.cli.output import aligned, print_json
from garage.cli.terminal import Colour, echo

_DATA = Path("data") / "local"
_UNFIT = 10
_MARKS = {Verdict.FINE: "ok", Verdict.NOTE: "note", Verdict.PROBLEM: "PROBLEM"}
_COLOURS = {Verdict.FINE: None, Verdict.NOTE: Colour.NOTE, Verdict.PROBLEM: Colour.ERROR}


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, and nothing else.")
@click.pass_context
def doctor(ctx: click.Context, directory: Path | None, *, as_json: bool) -> None:
    """Look at what runs rest on: packages, processors, graphics, the signing key, and the disk of DIR (default:
    data/local).

    Each line that is not fine says what to do. Exits with 0 if there is no problem, with 10 if there is one; notes
    are no problems. Nothing is changed; a file is made beside the runs and removed again.
    """  # noqa: D205 - click joins the lines
    everything = chain(doctor_packages.packages(), doctor_machine.machine(), doctor_disk.disk(directory or _DATA))
    findings = list(everything)
    n_problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    if as_json:
        print_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        for finding, line in zip(findings, _lines(findings), strict=True):
            echo(*line, colour=_COLOURS[finding.verdict])
        echo("No problem was found." if not n_problems else f"Problems: {n_problems}.")
    if n_problems:
        ctx.exit(_UNFIT)


def _lines(findings: Sequence[Finding]) -> Iterator[list[str]]:
    rows = [(_MARKS[each.verdict], each.about, each.found) for each in findings]
    width = max(len(mark) for mark, _, _ in rows) + 2
    for finding, line in zip(findings, aligned(rows), strict=True):
        step = [f"{'':{width}}-> {finding.next_step}"] if finding.next_step else []
        yield [line, *step]
