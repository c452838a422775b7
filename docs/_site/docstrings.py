"""What the reference shows of docstrings: formulas as they stand, and the settings of a model as a table.

Both work on source text alone; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

SECTIONS = frozenset({"Args:", "Attributes:", "Raises:", "Returns:", "Yields:"})
CODE = frozenset({"Examples:"})
ITEM = re.compile(r"^\s+[*\w, ]+:(?=\s)")
SPECIAL = re.compile(r"(`[^`]*`)|([*_<])")


GROUPED = re.compile(r"^(\s+)([*\w]+(?:, [*\w]+)+):(?=\s)")


def one_each(text: str) -> str:
    """The text with a line for each of the names that share one: `a, b: what both are`, or `of a; of b`."""
    lines, section, shared, described = [], "", [], []
    for line in [*text.splitlines(), ""]:
        if line and not line[:1].isspace():
            section = line.strip()
        group = GROUPED.match(line) if section in SECTIONS else None
        begins = group or ITEM.match(line) or not line.strip() or not line[:1].isspace()
        if shared and begins:
            meanings = [part.strip() for part in " ".join(map(str.strip, described)).split(";")]
            if len(meanings) != len(shared) or not all(part.startswith("of ") for part in meanings):
                meanings = ["; ".join(meanings)] * len(shared)
            lines += [
                f"{indent}{name}: {meaning}" for (indent, name), meaning in zip(shared, meanings, strict=True)
            ]
            shared = []
        if group:
            described = [line[group.end() :]]
            shared = [(group[1], name) for name in group[2].split(", ")]
        elif shared:
            described.append(line)
        else:
            lines.append(line)
    return "\n".join(lines[:-1])


def plain(text: str) -> str:
    """The text with what Markdown would read as emphasis or HTML escaped, outside code."""
    lines, section = [], ""
    for line in re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE).splitlines():
        indented = line[:1].isspace()
        if line and not indented:
            section = line.strip() if line.strip() in SECTIONS | CODE else ""
        if section in CODE or (indented and not section):
            lines.append(line)  # an example, or a block of formulas
            continue
        name = match.group() if section and (match := ITEM.match(line)) else ""
        rest = SPECIAL.sub(lambda found: found[1] or "\\" + found[2].replace("<", "&lt;"), line[len(name) :])
        lines.append(name + rest.replace("\\&lt;", "&lt;"))
    return "\n".join(lines)


def setting_line(attribute: griffe.Attribute) -> str:
    """`name: meaning` of `name: type = setting(default, meaning, ...)`."""
    call = ast.parse(str(attribute.value), mode="eval").body
    if not isinstance(call, ast.Call):
        return ""
    given = dict(zip(("default", "meaning"), call.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords}
    meaning = ast.literal_eval(given["meaning"]) if "meaning" in given else ""
    default = f" Default: `{ast.unparse(given['default'])}`." if "default" in given else ""
    return f"    {attribute.name}: {meaning}.{default}"


class Docstrings(griffe.Extension):
    """Hooks of griffe, which reads the source."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """A docstring that was just read."""
        if obj.docstring:
            obj.docstring.value = plain(one_each(obj.docstring.value))

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """A class whose fields are settings gets a table of them."""
        fields = [
            member
            for member in cls.members.values()
            if isinstance(member, griffe.Attribute) and str(member.value).startswith("setting(")
        ]
        if not fields:
            return
        table = "\n".join(["Attributes:", *filter(None, map(setting_line, fields))])
        text = cls.docstring.value if cls.docstring else "Keywords in Python, `--set` on the command line."
        cls.docstring = griffe.Docstring(f"{text}\n\n{plain(table)}", parent=cls)
