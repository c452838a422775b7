"""The service's page in a browser: lists by user and by history, reasons, titles as text; loopback only."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

pytest.importorskip("fastapi")
webdriver = pytest.importorskip("selenium.webdriver", reason="the page's tests need selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

FLAGS = [
    "headless",
    "no-sandbox",
    "disable-gpu",
    "no-first-run",
    "disable-background-networking",
    "disable-sync",
]
SECONDS = 20


@pytest.fixture(scope="module")
def address(bundles, tmp_path_factory):
    """Of a service of its own, with a token."""
    command = [sys.executable, "-m", "recsys", "serve", "--bundle", bundles["ease"][1], "--port", "0"]
    state = tmp_path_factory.mktemp("page")
    process = subprocess.Popen(
        [*map(str, command), "--state", str(state), "--token", "secret"], stderr=subprocess.PIPE, text=True
    )
    lines = iter(process.stderr)
    port = next(json.loads(line)["port"] for line in lines if '"listening"' in line)
    reader = threading.Thread(target=lambda: [None for _ in lines], daemon=True)
    reader.start()
    yield f"http://127.0.0.1:{port}/"
    process.send_signal(signal.SIGTERM)
    process.wait(30)


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser: install Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, "proxy-server=direct://", f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        found = webdriver.Chrome(options=options, service=Service(driver))
        found.set_window_size(1100, 900)
        yield found
        found.quit()


def until(browser, condition):
    return WebDriverWait(browser, SECONDS).until(lambda _: condition())


def rows(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#lists tbody tr")


def send(browser, name, text):
    field = browser.find_element(By.ID, name)
    field.clear()
    field.send_keys(text)
    field.submit()


def test_the_page_tries_users_and_histories(browser, address, tmp_path):
    browser.get(address)
    until(browser, lambda: "ease on shop" in browser.find_element(By.ID, "about").text)
    message = browser.find_element(By.ID, "message")
    send(browser, "user", "u3")
    until(browser, lambda: "token" in message.text)  # asked for, and then there is a field for it
    until(browser, browser.find_element(By.ID, "token").is_displayed)
    browser.find_element(By.ID, "token").send_keys("secret")
    send(browser, "user", "u3")
    until(browser, lambda: len(rows(browser)) == 20)
    assert [row.find_element(By.TAG_NAME, "td").text for row in rows(browser)[:2]] == ["1", "2"]
    rows(browser)[0].find_element(By.TAG_NAME, "button").click()
    until(browser, lambda: "its share of the score" in rows(browser)[0].text)
    send(browser, "user", "nobody")
    until(browser, lambda: "there is no user 'nobody'" in message.text)
    # A title that looks like HTML is text.
    send(browser, "text", "bold")
    found = until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#found button"))
    assert found[0].text == "+ tea <b>bold</b>" and not browser.find_elements(By.CSS_SELECTOR, "#found b")
    found[0].click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#history button"))
    browser.find_element(By.CSS_SELECTOR, "#by-history button").click()
    until(browser, lambda: rows(browser) and message.text == "")
    assert all("tea" in row.text for row in rows(browser)[:3])
    assert "bold" not in "".join(row.text for row in rows(browser))
    browser.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 10_000
    # Refused requests are the only words in the console.
    assert all("status of 40" in entry["message"] for entry in browser.get_log("browser"))
