"""What papers claim of their systems, and what was measured of it here: one page, made of the result files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from recsys.errors import UserError
from recsys.experiments.bench.result_file import (
    Kept,
    ResultFile,
    ResultTable,
    Row,
    difference_text,
    heading,
)
from recsys.experiments.bench.tables import markdown_table
from recsys.files import read_yaml
from recsys.runs.artifacts import first_fault
from recsys.runs.tables import number

FILE = "claims.yaml"
OUTCOMES = {"worse": "holds", "better": "the contrary", "no difference": "not shown"}
"""What a paper's system without a part, or another system, is found to be -> what that says of the claim."""
HEAD = """# Claims of the papers

What the papers of five systems claim of them, and what was measured of it here. A claim is that the system is better
than it is without a part, or than another system. It *holds* where the 95% interval of the paired difference, corrected
for the number of comparisons in its table (Holm), excludes zero; it is *not shown* where the interval does not; the
outcome may be *the contrary*. *No verdict* stands where there was one seed and one draw, or where no interval was kept.

Data, settings, seeds and the command that measures a table again are on the pages that are linked below it.
"""


class Claim(Kept):
    """One claim.

    Attributes:
        claim: in words of ours.
        results: name of the result file.
        without: rows of its tables that are compared with the tables' reference.
        column: what is compared; empty: what the table is decided by, which alone has a verdict.
    """

    claim: str
    results: str
    without: list[str]
    column: str = ""


class Paper(Kept):
    """The claims of one system's paper. `reading` says in a few lines what the outcomes mean."""

    paper: str
    claims: list[Claim]
    reading: str = ""


def read_claims(path: Path) -> dict[str, Paper]:
    """What is claimed, by system; nothing where there is no file.

    Raises:
        UserError: the file does not fit.
    """
    if not path.is_file():
        return {}
    try:
        return {system: Paper.model_validate(paper) for system, paper in read_yaml(path).items()}
    except ValidationError as error:
        raise UserError(f"{path} is no file of claims: {first_fault(error)}") from None


def outcome(row: Row) -> str:
    """What the row of a system without a part says of the claim that the part helps.

    Example:
        >>> outcome(Row(model="no contrast", figures={}, verdict="worse"))
        'holds'
    """
    return OUTCOMES.get(row.verdict or "", "no verdict")


def page(papers: Mapping[str, Paper], results: Mapping[str, ResultFile]) -> str:
    """The page as Markdown.

    Raises:
        UserError: a claim names a result file's row that is not there.
    """
    lines = [HEAD]
    for system, paper in papers.items():
        rows = [row for claim in paper.claims for row in _rows(claim, results)]
        table = markdown_table(["claim", "on", "compared", "with", "without", "difference", ""], rows)
        lines += [f"## {system}", "", paper.paper, "", table, ""]
        measured = dict.fromkeys(claim.results for claim in paper.claims if claim.results in results)
        if measured:
            links = ", ".join(f"[{results[name].title}]({name}.md)" for name in measured)
            lines += [f"Measured on {links}.", ""]
        if paper.reading:
            lines += [paper.reading.strip(), ""]
    return "\n".join(lines)


def _rows(claim: Claim, results: Mapping[str, ResultFile]) -> list[list[str]]:
    """A claim's lines of the table, one for each table of figures and each row that is compared."""
    if claim.results not in results:
        return [[claim.claim, "not measured yet", *[""] * 5]]
    lines = []
    for table in results[claim.results].tables:
        by_name = {row.model: row for row in table.rows}
        for name in claim.without:
            if name not in by_name or table.reference not in by_name:
                raise UserError(f"{claim.results}: '{table.title}' has no row '{name}', or no reference")
            lines.append(_line(claim, table, by_name[table.reference], by_name[name]))
    return lines


def _line(claim: Claim, table: ResultTable, reference: Row, row: Row) -> list[str]:
    column = claim.column or table.decide_by
    figures = reference.figures.get(column), row.figures.get(column)
    difference, said = "", "no verdict"
    if column == table.decide_by:
        gap, ends = row.difference, row.difference_interval
        gained = None if gap is None else -gap
        difference = difference_text(gained, (-ends[1], -ends[0]) if ends else None)
        said = outcome(row)
    compared = f"{reference.model}, {row.model}: {heading(column)}"
    return [claim.claim, table.title, compared, *map(number, figures), difference, said]
