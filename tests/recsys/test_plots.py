"""One palette for every drawing."""

import re
from pathlib import Path

import recsys
from recsys import datasets, experiments, graphs, plots
from recsys.experiments import report


def test_the_page_has_the_palette_of_the_figures():
    css = (Path(report.__file__).parent / "style.css").read_text(encoding="utf-8")
    names = re.findall(r"--c\d: (#\w+);", css)
    colours = [name if len(name) == 7 else "#" + "".join(2 * digit for digit in name[1:]) for name in names]
    assert tuple(colours) == (*plots.PALETTE, *plots.PALETTE_DARK)


def test_nothing_but_our_own_style_draws():
    folders = [Path(package.__file__).parent for package in (recsys, datasets, graphs, experiments)]
    sources = {path: path.read_text() for folder in folders for path in folder.rglob("*.py")}
    drawing = {
        path for path, text in sources.items() if "from matplotlib" in text or "import matplotlib" in text
    }
    assert len(drawing) >= 3
    for path in drawing - {Path(plots.__file__)}:
        assert (
            re.search(r"^from recsys import .*\bplots\b", sources[path], re.M)
            and "plots.style()" in sources[path]
        )
        assert "pyplot" not in sources[path] and not re.search("#[0-9a-f]{6}", sources[path])
