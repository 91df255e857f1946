"""nbgrader's formgrader, in a browser: the course is there, scores are shown, a mark given there reaches `export`."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest
from nbgrader import api
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from autograder.commands import exporting

LESSON = "attention_from_scratch"
TOKEN = "only-for-this-test"  # noqa: S105 - of a server that lives for one test
EVIL = "It grows <script>alert('mine')</script> with $d_k$, so <img src=x onerror=alert(1)> we divide."
WAIT_S = 60


@pytest.fixture(scope="module")
def browser(tmp_path_factory, open_browser):
    """Chromium, headless, which reaches nothing but this machine."""
    with open_browser(tmp_path_factory.mktemp("chromium"), reachable="127.0.0.1") as chromium:
        yield chromium


@pytest.fixture
def server(course, recorded, tmp_path_factory):
    """The address of a Jupyter server with formgrader in a course where ada handed in; it ends with the test."""
    recorded("ada", text=EVIL, softmax=7.5)
    recorded("bela", text=None)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("jupyter")
    places = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={course.root}"]
    command += ["--ServerApp.jpserver_extensions={'nbgrader.server_extensions.formgrader': True}"]
    environment = os.environ | places | {"HOME": str(home)}
    log = (home / "log").open("w+")
    process = subprocess.Popen(command, cwd=course.root, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(port, process, log)
        yield f"http://127.0.0.1:{port}/formgrader"
    finally:
        process.terminate()
        process.wait(timeout=WAIT_S)
        log.close()


def _wait_for(port, process, log):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        with closing(socket.socket()) as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    log.seek(0)
    pytest.fail(f"the server does not start: {log.read()[-2000:]}", pytrace=False)


def page(browser):
    return browser.find_element(By.TAG_NAME, "body").text


def until(browser, condition):
    return WebDriverWait(browser, WAIT_S).until(lambda _: condition())


def test_a_mark_saved_in_formgrader_reaches_the_export(course, browser, server, capsys):
    """The lessons are listed, 82.5 of 100 is shown, the answer is text and no script; 8.5 typed there make 91."""
    browser.get(f"{server}/manage_assignments?token={TOKEN}")
    until(browser, lambda: all(name in page(browser) for name in course.lessons()))

    browser.get(f"{server}/gradebook/{LESSON}/{LESSON}")
    until(browser, lambda: "82.5 / 100" in page(browser) and "90 / 100" in page(browser))
    links = browser.find_elements(By.CSS_SELECTOR, "a[href*='/submissions/']")
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        ada = book.find_submission_notebook(LESSON, LESSON, "ada").id
    link = next(each for each in links if ada in each.get_attribute("href"))

    browser.get(link.get_attribute("href"))
    until(browser, lambda: browser.find_element(By.ID, "softmax").get_attribute("placeholder") == "7.5")
    with pytest.raises(NoAlertPresentException):
        _ = browser.switch_to.alert.text
    assert "we divide." in page(browser)

    box = browser.find_element(By.ID, "why_scale")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    box.send_keys("8.5", Keys.TAB)
    until(browser, lambda: manual_score(course, "ada") == 8.5)

    exporting.export(LESSON, to="json", output="-")
    students = {each["student"]: each for each in json.loads(capsys.readouterr().out)["students"]}
    assert (students["ada"]["score"], students["ada"]["waits_for_a_person"]) == (91, [])
    assert students["bela"]["score"] == 90
    errors = [each["message"] for each in browser.get_log("browser") if each["level"] == "SEVERE"]
    assert [each for each in errors if "mathjax" not in each.lower()] == []  # which nbgrader fetches from the network


def manual_score(course, student):
    with closing(api.Gradebook(f"sqlite:///{course.root}/gradebook.db")) as book:
        return book.find_grade("why_scale", LESSON, LESSON, student).manual_score
