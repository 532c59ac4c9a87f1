"""Use the live page of `carnot serve` in a browser: look, ask, cancel.

    pip install playwright
    python tools/clients/live_page.py target/debug/carnot [--screenshot page.png]

Starts the server with the embedded model on a port that is free, and ends it. The browser is Debian's or one on the PATH.
"""
import argparse
import json
import shutil
import threading
import urllib.error
import urllib.request

from playwright.sync_api import expect, sync_playwright

from server import serve

KEY = "sk-page"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    parser.add_argument("--screenshot", help="where to write a picture of the page at work")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return print("page: skipped, there is no Chromium")
    # On a slow machine too, what waits here is not sent away.
    with serve(options.carnot, "--api-key", f"team:{KEY}", "--queue-seconds", "3600") as (address, _), sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=FLAGS).new_page(viewport={"width": 1100, "height": 1500})
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        open_with_key(page)
        ask(page)
        cancel(page, address, options.screenshot)
        documents(page, address)
        assert not wrong, wrong
    print("page: it asks for the key, streams an answer, stops it, lists requests and cancels one")


def open_with_key(page):
    expect(page.locator("#key")).to_be_visible()
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("#state")).to_have_text("ok")
    expect(page.locator("#model")).to_have_value("embedded")


def ask(page):
    page.fill("#prompt", "def fibonacci(n):\n")
    page.fill("#tokens", "40")
    page.click("#run")
    expect(page.locator("#timing")).to_contain_text("tokens/s")
    assert len(page.inner_text("#answer")) > len("def fibonacci(n):") + 20
    expect(page.locator("#latency tr").first).not_to_contain_text("–")
    page.fill("#tokens", "900")
    page.click("#run")
    expect(page.locator("#stop")).to_be_enabled()
    page.click("#stop")
    expect(page.locator("#stop")).to_be_disabled()


def cancel(page, address, screenshot):
    """Requests from elsewhere show up in the table, and the button beside one ends it; there are enough of them to wait for each other."""
    answers = []
    body = {"prompt": "import os\n", "max_tokens": 1000, "ignore_eos": True, "priority": 3, "n": 16}
    request = urllib.request.Request(f"{address}/v1/completions", json.dumps(body).encode(), {"authorization": f"Bearer {KEY}"})

    def wait():
        try:
            answers.append(urllib.request.urlopen(request).status)
        except urllib.error.HTTPError as error:
            answers.append(error.status)

    waiting = [threading.Thread(target=wait) for _ in range(4)]
    for thread in waiting:
        thread.start()
    row = page.locator("#requests tr", has_text="waiting").first
    expect(row).to_be_visible()
    if screenshot:
        page.screenshot(path=screenshot, full_page=True)
    row.get_by_role("button", name="Cancel").click()
    for thread in waiting:
        thread.join()
    assert sorted(answers) == [200, 200, 200, 409], answers
    expect(page.locator("#requests")).to_contain_text("nothing")


def documents(page, address):
    page.goto(f"{address}/docs")
    chat = page.locator("details", has_text="/v1/chat/completions")
    chat.locator("summary").click()
    expect(chat).to_contain_text("messages *")


main()
