"""What papers claim of their systems, and what was measured of it here: one page, made of the result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import UserError
from recsys.experiments.bench.result_file import ResultFile, ResultTable, Row, heading
from recsys.experiments.bench.tables import markdown_table
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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Part):
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


class Paper(_Part):
    """The claims of one system's paper. `reading` says in a few lines what the outcomes mean."""

    system: str
    paper: str
    claims: list[Claim]
    reading: str = ""


def read_claims(path: Path) -> list[Paper]:
    """What is claimed; nothing where there is no file.

    Raises:
        UserError: the file does not fit.
    """
    if not path.is_file():
        return []
    try:
        return [Paper.model_validate(paper) for paper in yaml.safe_load(path.read_text(encoding="utf-8"))]
    except (yaml.YAMLError, ValidationError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise UserError(f"{path} is no file of claims: {fault}") from None


def outcome(row: Row) -> str:
    """What the row of a system without a part says of the claim that the part helps.

    Example:
        >>> outcome(Row(model="no contrast", figures={}, verdict="worse"))
        'holds'
    """
    return OUTCOMES.get(row.verdict or "", "no verdict")


def page(papers: Sequence[Paper], results: Mapping[str, ResultFile]) -> str:
    """The page as Markdown.

    Raises:
        UserError: a claim names a result file's row that is not there.
    """
    lines = [HEAD]
    for paper in papers:
        lines += [f"## {paper.system}", "", f"{paper.paper}", ""]
        rows = [row for claim in paper.claims for row in _rows(claim, results)]
        measured = dict.fromkeys(claim.results for claim in paper.claims if claim.results in results)
        links = "Measured on " + ", ".join(f"[{results[name].title}]({name}.md)" for name in measured) + "."
        lines += [markdown_table(["claim", "on", "compared", "with", "without", "difference", ""], rows)]
        lines += ["", *([links, ""] if measured else [])]
        lines += [paper.reading.strip(), ""] if paper.reading else []
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
        said = outcome(row)
        difference = "" if row.difference is None else f"{-row.difference:+.4f}"
        if row.difference_interval:
            low, high = row.difference_interval
            difference += f" ({-high:+.4f} to {-low:+.4f})"
    compared = f"{reference.model}, {row.model}: {heading(column)}"
    return [claim.claim, table.title, compared, *map(number, figures), difference, said]
