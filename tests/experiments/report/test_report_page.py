"""The report's page in a browser: tables sort and fit, the explorer and the map answer, by mouse and by keyboard."""

import io
import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from recsys.experiments.bench.runner import BenchOptions, run_bench
from recsys.experiments.report.write import ReportOptions, write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="the page's tests need selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

FLAGS = (
    *(
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
    ),
    *("disable-component-update", "disable-sync"),
)
FILE = {
    "models": {
        "pop": None,
        "contentknn": None,
        "itemknn": None,
        "vbpr": {"settings": {"width": 4, "max_epochs": 2}},
    },
    "datasets": ["toy"],
    "splits": ["random", "cold-item"],
}


@pytest.fixture(scope="module")
def page(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "x.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    console = Console(file=io.StringIO())
    run_bench(str(folder / "x.yaml"), BenchOptions(out=folder / "out", data_root=str(root)), console)
    broken = folder / "out" / "jobs" / "broken"
    broken.mkdir()
    (broken / "metrics.json").write_text("{")
    return write_report(folder / "out", ReportOptions(), console)


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser: install Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        found = webdriver.Chrome(options=options, service=Service(driver))
        yield found
        found.quit()


@pytest.fixture
def opened(browser, page):
    """The page on a laptop, in light; whatever a test does must leave no word in the browser's console."""
    show(browser, page)
    yield browser
    assert browser.get_log("browser") == []


def show(browser, page, width=1280, dark=False):
    sizes = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(Path(page).as_uri())


def column(browser, number):
    rows = browser.find_elements(By.CSS_SELECTOR, "#table0 table tbody tr")
    rows = [row for row in rows if row.find_elements(By.CSS_SELECTOR, "td.words")]
    return [row.find_elements(By.XPATH, "./*")[number].get_attribute("data-v") for row in rows]


def header(browser, number):
    return browser.find_element(By.CSS_SELECTOR, f"#table0 table thead th:nth-child({number + 1})")


def test_tables_sort_by_click(opened):
    values = [float(v) for v in column(opened, 2)]
    assert values == sorted(values, reverse=True) and len(values) == 4
    button = header(opened, 2).find_element(By.TAG_NAME, "button")
    for order in ("descending", "ascending", "descending"):
        button.click()
        assert header(opened, 2).get_attribute("aria-sort") == order
        assert [float(v) for v in column(opened, 2)] == sorted(values, reverse=order == "descending")
    assert header(opened, 0).get_attribute("aria-sort") is None
    names = "#table0 table tbody th"
    header(opened, 1).find_element(By.TAG_NAME, "button").click()
    found = [e.text.replace("*", "").strip() for e in opened.find_elements(By.CSS_SELECTOR, names)][:4]
    assert found == ["contentknn", "itemknn", "pop", "vbpr"]
    assert opened.find_element(By.CSS_SELECTOR, "#table0 tfoot th").text == "chance"


def test_everything_is_reached_by_keyboard(opened):
    body = opened.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    skip = opened.switch_to.active_element
    assert skip.text == "Skip to the results" and skip.rect["x"] >= 0
    skip.send_keys(Keys.ENTER)
    for _ in range(40):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        if opened.switch_to.active_element.text.startswith("seconds"):
            break
    button = opened.switch_to.active_element
    assert button.text.startswith("seconds")
    assert button.value_of_css_property("outline-style") == "solid"
    button.send_keys(Keys.ENTER)
    values = [float(v) for v in column(opened, -1)]
    assert values == sorted(values)
    button.send_keys(Keys.SPACE)
    assert [float(v) for v in column(opened, -1)] == sorted(values, reverse=True)
    reached = opened.execute_script(
        "return [...document.querySelectorAll('button, select, a, summary, .scroll')]"
        ".filter(e => e.tabIndex < 0).length"
    )
    assert reached == 0


def test_the_explorer_answers(opened):
    users = Select(opened.find_element(By.ID, "ex-user"))
    status = opened.find_element(By.ID, "ex-status")
    assert status.get_attribute("aria-live") == "polite"
    users.select_by_index(3)
    name = users.first_selected_option.text.split(":")[0]
    assert status.text.startswith(f"User {name}:")
    second = Select(opened.find_element(By.ID, "ex-b"))
    second.select_by_visible_text("pop")
    headings = [e.text for e in opened.find_elements(By.CSS_SELECTOR, "#ex-lists h3")]
    assert headings[:2] == ["History", "Held out"] and headings[3] == "pop"
    assert "pop finds" in status.text
    held = {e.text for e in opened.find_elements(By.CSS_SELECTOR, "#ex-lists section:nth-child(2) li")}
    lists = opened.find_elements(By.CSS_SELECTOR, "#ex-lists section:nth-child(n+3)")
    for section, model in zip(lists, headings[2:], strict=True):
        hits = section.find_elements(By.CSS_SELECTOR, "li.hit")
        assert f"{model} finds {len(hits)} of" in status.text
        for item in section.find_elements(By.TAG_NAME, "li"):
            title = item.find_elements(By.TAG_NAME, "span")[1].text
            assert ("✓" in item.text) == (title in held)
    item = opened.find_element(By.CSS_SELECTOR, "#ex-lists section:nth-child(3) button")
    title = item.find_elements(By.TAG_NAME, "span")[1].text
    item.send_keys(Keys.ENTER)
    near = opened.find_element(By.ID, "ex-near")
    assert near.find_element(By.TAG_NAME, "h3").text == f"Nearest to {title}"
    assert [e.text for e in near.find_elements(By.TAG_NAME, "h4")] == ["by image", "by tags"]
    assert len(near.find_elements(By.CSS_SELECTOR, "div:first-child > ol > li")) == 5
    Select(opened.find_element(By.ID, "ex-table")).select_by_visible_text("toy, cold-item")
    assert near.text == "" and status.text.startswith("User ")


def test_a_map_shows_one_kind_alone(opened):
    button = opened.find_element(By.CSS_SELECTOR, "#maps .legend button")
    dimmed = "return document.querySelectorAll('#maps .dim').length"
    button.click()
    assert button.get_attribute("aria-pressed") == "true" and opened.execute_script(dimmed) >= 1
    button.click()
    assert button.get_attribute("aria-pressed") == "false" and opened.execute_script(dimmed) == 0
    drawn = opened.find_element(By.CSS_SELECTOR, "svg.map")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", drawn)
    x, y = opened.execute_script(
        "const m = JSON.parse(document.getElementById('data').textContent).maps[0];"
        "const b = document.querySelector('svg.map').getBoundingClientRect();"
        "return m.places.slice(0, 2).map(v => (v * 0.484 + 8) / 500 * b.width - b.width / 2);"
    )
    webdriver.ActionChains(opened).move_to_element_with_offset(drawn, round(x), round(y)).perform()
    assert "Item " in opened.find_element(By.CSS_SELECTOR, ".pointed").text


def map_data(browser):
    return browser.execute_script("return JSON.parse(document.getElementById('data').textContent).maps[0]")


def test_the_map_is_walked_by_keyboard(opened):
    walk, named = (opened.find_element(By.CSS_SELECTOR, s) for s in ("#maps .walk", "#maps .pointed"))
    assert named.get_attribute("aria-live") == "polite" and named.text == ""
    assert "arrow keys" in opened.find_element(By.ID, walk.get_attribute("aria-describedby")).text
    opened.find_element(By.CSS_SELECTOR, "a[href='#maps']").send_keys(Keys.ENTER)
    opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.switch_to.active_element == walk
    assert walk.value_of_css_property("outline-style") == "solid"
    drawn = map_data(opened)
    places = list(zip(drawn["places"][::2], drawn["places"][1::2], strict=True))

    def here():
        ring = opened.find_element(By.CSS_SELECTOR, "#maps .here")
        return tuple((float(ring.get_attribute(side)) - 8) / 0.484 for side in ("cx", "cy"))

    walk.send_keys(Keys.ARROW_DOWN)  # the first press goes to the middle
    middle = min(places, key=lambda p: (p[0] - 500) ** 2 + (p[1] - 500) ** 2)
    assert here() == pytest.approx(middle)
    for key, axis, sign in ((Keys.ARROW_RIGHT, 0, 1), (Keys.ARROW_UP, 1, -1), (Keys.ARROW_LEFT, 0, -1)):
        before = here()
        walk.send_keys(key)
        after = here()
        ahead = [p for p in places if sign * (p[axis] - before[axis]) > abs(p[1 - axis] - before[1 - axis])]
        assert sign * (after[axis] - before[axis]) > 0 if ahead else after == before
    walk.send_keys(Keys.HOME)
    seen = set()
    for number in range(len(places)):
        assert here() == pytest.approx(places[number])
        assert named.text.endswith(f"– {drawn['names'][drawn['name'][number]]}")
        seen.add(named.text.rpartition(" – ")[0])
        walk.send_keys(Keys.PAGE_DOWN)
    assert len(seen) == len(places) and here() == pytest.approx(places[0])
    button = opened.find_element(By.CSS_SELECTOR, "#maps .legend li:last-child button")
    button.send_keys(Keys.ENTER)
    kind = button.get_attribute("data-kind")
    walk.send_keys(Keys.HOME)
    assert here() == pytest.approx(places[drawn["kind"].index(int(kind))])


def test_every_category_of_the_map_is_named(opened):
    legend = [e.text for e in opened.find_elements(By.CSS_SELECTOR, "#maps .legend button")]
    beside = "".join(e.text for e in opened.find_elements(By.CSS_SELECTOR, "#maps .further"))
    drawn = map_data(opened)
    assert len(legend) == len(opened.find_elements(By.CSS_SELECTOR, "svg.map path[data-kind]"))
    for name, count in Counter(drawn["names"][n] for n in drawn["name"]).items():
        assert f"{name} {count}" in legend or f"{name} ({count})" in beside


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_nothing(browser, page, width, dark):
    axe = pytest.importorskip("axe_core_python.selenium", reason="needs axe-core-python").Axe()
    show(browser, page, width, dark)
    unfold(browser)
    found = axe.run(browser)
    assert len(found["passes"]) > 20
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
    browser.execute_script("document.documentElement.removeAttribute('lang')")  # and it does look
    assert [v["id"] for v in axe.run(browser)["violations"]] == ["html-has-lang"]


def test_wide_tables_show_their_last_column(browser, page):
    show(browser, page, width=1280)
    unfold(browser)
    tables = browser.find_elements(By.CSS_SELECTOR, ".scroll > table")
    assert max(len(table.find_elements(By.CSS_SELECTOR, "thead th")) for table in tables) >= 13
    for table in tables:
        last = table.find_element(By.CSS_SELECTOR, "thead th:last-child").rect
        place = table.find_element(By.XPATH, "..").rect
        assert last["x"] + last["width"] <= place["x"] + place["width"] + 1, table.text[:80]
    assert not browser.find_elements(By.CSS_SELECTOR, ".scroll.more")
    show(browser, page, width=400)
    assert browser.find_elements(By.CSS_SELECTOR, "#table1 .scroll.more")  # more than fits says so


def unfold(browser):
    """Open whatever is folded, and an item's neighbours."""
    browser.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    browser.execute_script("document.querySelector('#ex-lists button').click()")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_but_tables_scrolls_sideways(browser, page, width):
    show(browser, page, width=width)
    unfold(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg')"
        " && !e.classList.contains('hidden') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
    )
    assert wide == []
    assert browser.get_log("browser") == []


def test_dark_differs_from_light_and_both_are_legible(browser, page):
    seen = {}
    for dark in (False, True):
        show(browser, page, dark=dark)
        seen[dark] = {
            name: browser.find_element(By.CSS_SELECTOR, selector).value_of_css_property(style)
            for name, selector, style in (
                ("paper", "body", "background-color"),
                ("ink", "body", "color"),
                ("soft", ".note", "color"),
                ("link", "nav a", "color"),
                ("chart", "figure svg text", "fill"),
                ("dot", "figure svg .dot", "fill"),
                ("line", "figure svg .line", "stroke"),
                ("axis", "figure svg .axis", "stroke"),
            )
        }
        paper = luminance(seen[dark]["paper"])
        for number in range(8):
            mark = f"return getComputedStyle(Object.assign(document.body, {{className: 's{number}'}})).color"
            assert contrast(luminance(browser.execute_script(mark)), paper) >= 3, (dark, number)
        for name in ("ink", "soft", "link", "chart"):
            assert contrast(luminance(seen[dark][name]), paper) >= 4.5, (dark, name)
        for name in ("dot", "line", "axis"):
            assert contrast(luminance(seen[dark][name]), paper) >= 3, (dark, name)
    assert all(seen[False][name] != seen[True][name] for name in seen[True])


def luminance(colour):
    """Relative luminance of an "rgb(r, g, b)" as WCAG 2 defines it."""
    parts = [float(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_a_screen_reader_finds_its_way(opened):
    levels = [int(e.tag_name[1]) for e in opened.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    unnamed = opened.execute_script(
        "return [...document.querySelectorAll('svg[role=img], table, section[id], .scroll')].filter(e => {"
        " const id = e.getAttribute('aria-labelledby'); return !id || !document.getElementById(id)?.textContent; })"
        ".length + [...document.querySelectorAll('select')].filter(e => !e.labels.length).length"
        " + [...document.querySelectorAll('th')].filter(e => !e.scope).length"
    )
    assert unnamed == 0
    identifiers = opened.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(identifiers) == len(set(identifiers))
    for landmark in ("header", "nav", "main"):
        assert len(opened.find_elements(By.CSS_SELECTOR, f"body > {landmark}")) == 1
    assert "jobs/broken" in opened.find_element(By.ID, "missing").text


def test_no_request_leaves_the_page(browser, page):
    browser.get_log("performance")
    show(browser, page)
    sent = [
        e["message"] for e in browser.get_log("performance") if "Network.requestWillBeSent" in e["message"]
    ]
    assert sent and all('"url":"file://' in m or '"url":"data:' in m for m in sent)
