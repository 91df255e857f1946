"""Both pages in a real browser: they sort, filter and lead on, by mouse and keyboard, on paper and in the dark, alone."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait

from autograder.class_page import class_page
from autograder.class_report import class_report, groups
from autograder.course import Course
from autograder.feedback import page as feedback_page
from autograder.outcome import Picture
from autograder.results import TestResult

ROOT = Path(__file__).resolve().parents[2]
LESSON = "attention_from_scratch"
NARROW = 400
DIALECTS = ("light", "dark")
PICTURE = Picture(
    "weights of the sentence, one map a head",
    ("the", "cat", "sat"),
    ("the", "cat", "sat"),
    tuple(((1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.25, 0.25, 0.5)) for _ in range(2)),
    tuple(((0.9, 0.1, None), (0.5, 0.5, 0.0), (0.25, 0.25, 0.5)) for _ in range(2)),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, open_browser):
    """Chromium, headless, which reaches nothing."""
    with open_browser(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def made(tmp_path_factory, class_of):
    """A class of 300 with its report, and the feedback of those whose name the tests follow."""
    folder, lesson = tmp_path_factory.mktemp("pages"), Course(ROOT).lesson(LESSON)
    latest = class_of(300)
    report = class_report(lesson, latest, [], ["no notebook of: student003"])
    (folder / "report.html").write_text(class_page(report), encoding="utf-8")
    (folder / "feedback").mkdir()
    student = next(row.student for row in report.rows if row.state == "graded" and row.ideas)
    result = latest.entries[student].result
    pictures = {each.name: PICTURE for each in lesson.exercises}
    (folder / "feedback" / f"{student}.html").write_text(feedback_page(lesson, result, pictures), encoding="utf-8")
    pages = {"report": folder / "report.html", "feedback": folder / "feedback" / f"{student}.html"}
    return SimpleNamespace(report=report, pages=pages, student=student, result=result)


@pytest.fixture(params=["report", "feedback"])
def page(request, made):
    return made.pages[request.param]


@pytest.fixture
def opened(browser, made):
    """The report, freshly opened."""
    look(browser, made.pages["report"])
    return browser


def arrives(browser, is_there):
    """Waits for what a link or the way back leads to: a browser takes its time; TimeoutException if it never comes."""
    WebDriverWait(browser, 20).until(lambda _: is_there())


def look(browser, path, width=1200, scheme="light", media="screen", fragment=""):
    """Opens a page as somebody sees it."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri() + fragment)


def shown(browser):
    """The students whom the table shows now, in order."""
    return browser.execute_script(
        "const rows = [...document.querySelectorAll('#heat tbody tr')].filter((r) => r.offsetParent);"
        "return rows.map((r) => r.cells[0].innerText)"
    )


def told(browser):
    return browser.find_element(By.ID, "told").text


def requested(browser):
    """All addresses that the page asked for."""
    messages = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    return {each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"}


# --- both pages


def test_a_page_stands_alone(browser, page):
    """Nothing is asked for but the page itself, and the console stays empty."""
    look(browser, page)
    assert {url.partition("#")[0] for url in requested(browser)} == {page.as_uri()}
    assert browser.get_log("browser") == []


def test_the_policy_is_enforced(browser, page):
    """A script, a style and a picture that somebody smuggled in are all refused."""
    look(browser, page)
    browser.execute_script("""
        document.body.insertAdjacentHTML("beforeend", "<p id=bad style='color: rgb(1, 2, 3)' onclick='ran = 1'>x</p>");
        const script = document.createElement("script");
        script.textContent = "window.ran = 1";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "https://example.org/x.png";
        document.body.append(image);
        document.getElementById("bad").click();
    """)
    assert browser.execute_script("return window.ran") is None
    assert browser.execute_script("return getComputedStyle(document.getElementById('bad')).color") != "rgb(1, 2, 3)"
    refused = [each["message"] for each in browser.get_log("browser")]
    assert any("example.org" in each and "Content Security Policy" in each for each in refused)


@pytest.mark.parametrize("width", [320, NARROW, 1200])
def test_a_page_never_scrolls_sideways(browser, page, width):
    """Wide tables scroll by themselves."""
    look(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", DIALECTS)
def test_axe_finds_no_serious_issue(browser, page, scheme):
    """Contrast, names, headings, tables, focus: in light and dark."""
    import axe_core_python

    source = next(Path(axe_core_python.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")
    look(browser, page, scheme=scheme)
    browser.execute_script(source)
    found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 10
    bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert bad == [], [(each["id"], each["nodes"][0]["html"]) for each in bad]


def test_dark_is_dark(browser, page):
    """The page follows the reader's setting."""
    grounds = []
    for scheme in DIALECTS:
        look(browser, page, scheme=scheme)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")))
    assert grounds[0] > 600
    assert grounds[1] < 150


def test_a_page_opens_at_once(browser, page):
    """Under a second from the click to the last byte drawn, and under 3 MB."""
    look(browser, page)
    took = browser.execute_script(
        "const [n] = performance.getEntriesByType('navigation'); return n.loadEventEnd - n.startTime"
    )
    assert 0 < took < 1000
    assert page.stat().st_size < 3_000_000


# --- the report


def test_a_heading_sorts(opened, made):
    """By score: first down, then up; those without a score stand below all that have one."""
    heading = opened.find_element(By.XPATH, "//table[@id='heat']//button[normalize-space()='score']")
    scores = lambda: opened.execute_script(  # noqa: E731
        "return [...document.querySelectorAll('#heat tbody tr')].map((r) => r.cells[2].innerText || r.cells[2].textContent)"
    )
    numbers = sorted((row.score for row in made.report.rows if row.score is not None), reverse=True)
    heading.click()
    assert [float(each) for each in scores() if each.strip() != "–"] == pytest.approx(numbers, abs=0.01)
    assert heading.find_element(By.XPATH, "./..").get_attribute("aria-sort") == "descending"
    heading.click()
    assert [float(each) for each in scores() if each.strip() != "–"] == pytest.approx(numbers[::-1], abs=0.01)
    assert heading.find_element(By.XPATH, "./..").get_attribute("aria-sort") == "ascending"


def test_the_keyboard_sorts_and_filters(opened, made):
    """Enter on a heading; words typed into the field; a name that fits stays."""
    heading = opened.find_element(By.XPATH, "//table[@id='heat']//button[normalize-space()='student']")
    heading.send_keys(Keys.ENTER)
    assert shown(opened)[0] == "student000"
    heading.send_keys(Keys.ENTER)
    assert shown(opened)[0] == "student299"
    opened.find_element(By.ID, "search").send_keys("student01")
    assert sorted(shown(opened)) == [f"student01{n}" for n in range(10)]
    assert told(opened) == "10 of 300 students"


def test_the_state_filters(opened, made):
    """Those in review, and only they; then all again."""
    Select(opened.find_element(By.ID, "state")).select_by_value("needs_review")
    assert sorted(shown(opened)) == sorted(made.report.in_state("needs_review"))
    opened.find_element(By.ID, "all").click()
    assert told(opened) == "300 of 300 students"


def test_a_number_leads_to_its_students(opened, made):
    """The misconception's count: exactly those who show it, with its idea above; the browser's back leaves it."""
    label, students = groups(made.report)["m0"]
    opened.find_element(By.CSS_SELECTOR, "#ideas a[href='#who=m0']").click()
    arrives(opened, lambda: opened.execute_script("return document.activeElement.id") == "submissions-head")
    more = opened.find_element(By.CSS_SELECTOR, "#submissions .more button")
    if more.is_displayed():
        more.click()
    assert sorted(shown(opened)) == sorted(students)
    assert label in told(opened)
    opened.back()
    arrives(opened, lambda: told(opened) == "300 of 300 students")


def test_a_link_to_a_number_can_be_kept(browser, made):
    """The page opens with the filter that its address names; one that it does not know shows all."""
    look(browser, made.pages["report"], fragment="#who=missing")
    assert sorted(shown(browser)) == sorted(made.report.in_state("missing"))
    look(browser, made.pages["report"], fragment="#who=__proto__")
    assert told(browser) == "300 of 300 students"


def test_a_name_leads_to_the_feedback(opened, made):
    """The file beside the page, with the student's score."""
    opened.find_element(By.ID, "search").send_keys(made.student)
    opened.find_element(By.CSS_SELECTOR, f"#heat a[href='feedback/{made.student}.html']").click()
    arrives(opened, lambda: f"feedback for {made.student}" in opened.title)


def test_a_long_table_opens(opened, made):
    """The first rows of many; the button says how many there are, and shows them."""
    rows = "return [...document.querySelectorAll('#tests tbody tr')].filter((r) => r.offsetParent).length"
    assert opened.execute_script(rows) == 12
    button = opened.find_element(By.CSS_SELECTOR, "#tests .more button")
    assert button.text == f"Show all {len(made.report.tests)}"
    button.click()
    assert opened.execute_script(rows) == len(made.report.tests)


def test_paper_shows_every_student_and_no_button(browser, made):
    """What was folded away is printed; what can only be clicked is not."""
    look(browser, made.pages["report"], media="print")
    assert len(shown(browser)) == 300
    assert not browser.find_element(By.CSS_SELECTOR, ".tools").is_displayed()
    assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 10_000


def test_without_scripts_all_is_there(browser, made):
    """Every student and every table; the tools that would do nothing are hidden."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look(browser, made.pages["report"])
        names = browser.find_elements(By.CSS_SELECTOR, "#heat tbody th")
        assert len(names) == 300
        assert not browser.find_element(By.CSS_SELECTOR, ".tools").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


# --- the feedback


def test_passed_tests_are_one_click_away(browser, made):
    """Folded on the screen, opened by the keyboard, and on paper."""
    look(browser, made.pages["feedback"])
    passed = [test for each in made.result.exercises for test in each.tests if test.outcome == "passed"]
    assert isinstance(passed[0], TestResult)
    sentence = browser.find_element(By.XPATH, f"//li[contains(., '{passed[0].name}')]")
    assert not sentence.is_displayed()
    sentence.find_element(By.XPATH, "./ancestor::details/summary").send_keys(Keys.ENTER)
    assert sentence.is_displayed()
    height = "const box = document.querySelector('details ul').getBoundingClientRect(); return box.height"
    look(browser, made.pages["feedback"], media="print")
    assert browser.execute_script(height) > 0
