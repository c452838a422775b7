"""Values that files should not hold, as they stand in tables, in JSON and in YAML."""

_WORDS = """nan inf -inf -1 -0 1.5 1e3 1e400 9223372036854775808 0x10 1_0 true True null None NA 2020-13-45 +1 01 =1+1
" ' ../../etc/passwd /etc/passwd <script>alert(1)</script> [bold]x[/bold] 1;2 {} [1] 1.0 \uff11 \u22121 \ud7ff"""
HOSTILE = [
    *_WORDS.split(),
    *(
        "",
        " ",
        " 1",
        "9" * 400,
        "9" * 5000,
        "-9" * 200,
        "x" * 5000,
        "\x1b[31mred",
        "\u202eabc",
        "a\0b",
        "a\rb",
    ),
    *("\U0001f600", "\u2028", "\x85"),
]
"""Entries of tables, names of columns."""

LONG = ["9" * 400, "9" * 5000, "[" * 3000 + "]" * 3000]
_JSON = """true false null NaN Infinity -1 1.5 1.0 1e400 1e3 1e18 -0 12345678901234567890 1125899906842624 tru "1" "x"
{} [] [[1]] "\\u001b[31m" "\\ud800" "../../etc/passwd" "[red]x[/red]" {"a":1,"a":2} 1,2"""
RAW_JSON = [*LONG, *_JSON.split(), f'"{"x" * 5000}"']
_YAML = """true null .nan .inf -1 1.5 1e24 1e20 ~ [] {} [[1]] 2020-13-45 2020-01-01 /etc/passwd '../../etc/passwd' [a,b]
1:30:00 0o17 1_000 *missing on '1' 1099511627776 pop ease cuda cpu '' ndcg@20 !!set{a,b}"""
RAW_YAML = [
    *LONG,
    *_YAML.split(),
    *(
        "{1: 2}",
        "{null: 1}",
        "{[1]: 2}",
        "{a: 1, a: 2}",
        "&a [*a]",
        "{low: 1, high: 0}",
        "{low: .nan, high: 1}",
    ),
    *(
        "!!python/object/apply:os.system ['true']",
        "!!binary aGVsbG8=",
        '"\\e[31m"',
        '"\\ud800"',
        "[1, x, null]",
    ),
    *("x" * 5000, "ndcg@" + "9" * 30, "'[red]x[/red]'"),
]
JSON_KEYS = [
    '"x"',
    '"-1"',
    '"1.5"',
    f'"{"9" * 400}"',
    '"\\u001b"',
    '"[red]"',
    '""',
    "1",
    "null",
    '"1"',
    '"01"',
    '"nan"',
]
YAML_KEYS = [
    "1",
    "null",
    "true",
    "1.5",
    "2020-01-01",
    "[1]",
    "x" * 5000,
    "'[red]'",
    "''",
    "'\x85'",
    "? [1, 2]\n",
]
