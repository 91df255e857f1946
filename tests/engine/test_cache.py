"""What is kept between runs: found again by whoever has the same key, and never believed when it is not what was kept."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.cache import Cache, Mark, Record
from autograder.collection import Submission
from autograder.course import Course
from autograder.errors import GraderError
from autograder.keys import Keys, Salts, calls, salts
from autograder.notebook import Cell, Notebook
from autograder.outcome import Judged, Outcome
from autograder.paper import Paper
from autograder.program import slice_program

LESSON = "attention_from_scratch"
VERDICT = Judged((Outcome("test_rows", "rows sum to one", True, message="wanted ü"),), "an idea")
SALTS = Salts("engine", dict.fromkeys(("softmax", "causal_mask", "scaled_dot_product_attention"), "suite"), "run")


@pytest.fixture
def told():
    """What the cache told the user."""
    return []


@pytest.fixture
def cache(tmp_path, told):
    """An empty cache."""
    with Cache(tmp_path / "cache.db", told.append) as made:
        yield made


def keep(cache, key="key", student="ada"):
    cache.keep(LESSON, student, "cpu", {"softmax": (key, VERDICT)}, ("code", ["printed: hello"]))


def test_a_verdict_is_found_by_its_key(cache):
    """All of it, umlauts included; the notes too."""
    keep(cache)
    assert cache.verdicts(LESSON, "ada", "cpu") == {"key": VERDICT}
    assert cache.notes(LESSON, "ada", "code") == ["printed: hello"]


def test_others_do_not_find_it(cache):
    """Another student, lesson or device, or notes of other code."""
    keep(cache)
    assert cache.verdicts(LESSON, "bela", "cpu") == cache.verdicts("other", "ada", "cpu") == {}
    assert cache.verdicts(LESSON, "ada", "cuda") == {}
    assert cache.notes(LESSON, "ada", "other code") == []


def test_it_outlives_the_process(cache, tmp_path):
    """Another run opens the same file."""
    keep(cache)
    with Cache(tmp_path / "cache.db") as again:
        assert again.verdicts(LESSON, "ada", "cpu") == {"key": VERDICT}


def test_a_new_verdict_replaces_the_old_one(cache):
    """One for each student, exercise and device: the file does not grow with each run."""
    keep(cache, "old")
    keep(cache, "new")
    assert list(cache.verdicts(LESSON, "ada", "cpu")) == ["new"]


def test_marks_and_records_are_kept(cache):
    """What the gradebook had is known to the next run."""
    mark, record = Mark("code", 7.5, (("rows sum to one", "passed"),)), Record("content", "a.ipynb", (1, 2))
    cache.recorded(LESSON, "ada", record, {"softmax": mark})
    cache.stands(LESSON, "looks")
    assert cache.marks(LESSON, "ada") == {"softmax": mark}
    assert cache.record(LESSON, "ada") == record
    assert cache.standing(LESSON) == "looks"
    assert (cache.record(LESSON, "bela"), cache.standing("other")) == (None, "")


@pytest.mark.parametrize(
    "change",
    ["data = zeroblob(10)", "data = 'text'", "digest = x'00'", "key = 'mine'", "student = 'bela'",
     "exercise = 'causal_mask'"],
)
def test_a_row_that_was_changed_is_as_if_it_were_not_there(cache, tmp_path, change):
    """No verdict is moved to another student or key, or made up, by writing into the file."""
    keep(cache)
    with sqlite3.connect(tmp_path / "cache.db") as base:
        base.execute(f"UPDATE verdicts SET {change}")  # noqa: S608 - the test's own words
    assert cache.verdicts(LESSON, "ada", "cpu") == cache.verdicts(LESSON, "bela", "cpu") == {}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_made_anew(tmp_path, told, content):
    """It is said, and the run goes on."""
    path = tmp_path / "cache.db"
    path.write_bytes(content)
    with Cache(path, told.append) as cache:
        keep(cache)
        assert cache.verdicts(LESSON, "ada", "cpu") == {"key": VERDICT}
    assert len(told) == bool(content)


def test_a_file_that_breaks_while_it_is_used_is_made_anew(cache, tmp_path, told):
    """A table that is gone: nothing is known, and what comes is kept."""
    with sqlite3.connect(tmp_path / "cache.db") as base:
        base.execute("DROP TABLE verdicts")
    assert cache.verdicts(LESSON, "ada", "cpu") == {}
    keep(cache)
    assert cache.verdicts(LESSON, "ada", "cpu") == {"key": VERDICT}
    assert len(told) == 1


def test_another_versions_file_is_made_anew(cache, tmp_path, told):
    """Its rows may mean something else."""
    keep(cache)
    with sqlite3.connect(tmp_path / "cache.db") as base:
        base.execute("PRAGMA user_version = 99")
    with Cache(tmp_path / "cache.db", told.append) as again:
        assert again.verdicts(LESSON, "ada", "cpu") == {}


def test_a_file_that_another_run_holds_is_left_alone(cache, tmp_path, monkeypatch):
    """Two runs at the same time: the second says so, and deletes nothing."""
    keep(cache)
    cache._base.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "cache.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GraderError, match="another run"):
        keep(cache, "new")
    other.close()
    with Cache(tmp_path / "cache.db") as again:
        assert again.verdicts(LESSON, "ada", "cpu") == {"key": VERDICT}


def test_a_folder_that_cannot_be_written_is_our_fault(tmp_path):
    """And is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(GraderError, match="cannot be written"):
        Cache(tmp_path / "file" / "cache.db")


# --- keys


CELLS = {
    "import": "import torch",
    "helper": "def shifted(x):\n    return x - x.max()",
    "softmax": "def softmax(x, dim=-1):\n    e = shifted(x).exp()\n    return e / e.sum(dim, keepdim=True)",
    "causal_mask": "def causal_mask(n, device=None):\n    return torch.ones(n, n).triu(1).bool()",
    "attention": "def scaled_dot_product_attention(Q, K, V, mask=None):\n    return softmax(Q @ K.mT) @ V",
}


@pytest.fixture(scope="module")
def lesson():
    """The lesson whose exercises are used."""
    return Course(Path(__file__).resolve().parents[2]).lesson(LESSON)


@pytest.fixture
def key(lesson):
    """The key of an exercise for cells with changes: key("softmax", softmax="...", student="ada", wrong={...})."""

    def make(exercise, student="ada", salted=SALTS, judged=None, **changes):
        cells = tuple(Cell(n, "code", text) for n, text in enumerate({**CELLS, **changes}.values(), start=1))
        notebook = Notebook(cells)
        paper = Paper(Submission(student, None), notebook, slice_program(notebook, lesson))
        return Keys(paper, lesson).key(salted, exercise, judged or {})

    return make


WRONG = Judged((Outcome("test", "a test", True, verdict="failed", cause="wrong"),))
FURTHER = "def softmax(x, dim=-1):\n    return x.exp() / x.exp().sum(dim)"


def test_the_same_has_the_same_key(key):
    """Two runs of an unchanged class agree."""
    assert key("softmax") == key("softmax")


@pytest.mark.parametrize(
    "change",
    [
        {"student": "bela"},
        {"softmax": FURTHER},
        {"helper": "def shifted(x):\n    return x"},
        {"softmax": CELLS["softmax"] + "  # sic"},
        {"salted": replace(SALTS, engine="newer")},
        {"salted": replace(SALTS, run="another device, box or secret")},
        {"salted": replace(SALTS, suites={**SALTS.suites, "softmax": "corrected"})},
    ],
)
def test_whatever_may_change_the_verdict_changes_the_key(key, change):
    """Who, the code with its helpers and comments (messages show lines), engine, device, box, secret, suite."""
    assert key("softmax", **change) != key("softmax")


def test_what_others_answer_does_not_matter(key):
    """Nor does another exercise's suite, or verdict."""
    changed = replace(SALTS, suites={**SALTS.suites, "causal_mask": "corrected"})
    assert key("softmax", causal_mask="def causal_mask(n, device=None):\n    return None") == key("softmax")
    assert key("softmax", salted=changed, judged={"causal_mask": WRONG}) == key("softmax")


def test_an_exercise_hangs_on_those_that_it_calls(key):
    """On their code, and on whether they were wrong: then the reference stands in for them."""
    attention = "scaled_dot_product_attention"
    assert key(attention, softmax=FURTHER) != key(attention)
    assert key(attention, judged={"softmax": WRONG}) != key(attention)
    assert key(attention, judged={"softmax": replace(WRONG, idea="no maximum")}) != key(attention, judged={"softmax": WRONG})


def test_a_cell_that_moves_changes_the_key(key):
    """Messages name cells by number."""
    assert key("softmax", **{"import": CELLS["import"] + "\n\n"}) == key("softmax")
    cells = {"helper": CELLS["helper"] + "\n\n" + CELLS["softmax"], "softmax": "1"}
    assert key("softmax", **cells) != key("softmax")


def test_calls_are_followed():
    """Through others, and never to itself; code that looks names up may call all."""
    found = calls({"a": ["b(1)"], "b": ["c + a"], "c": ["x.d1"], "d": ["globals()['a']"]})
    assert found == {"a": {"b", "c"}, "b": {"a", "c"}, "c": set(), "d": {"a", "b", "c"}}


def test_a_changed_suite_touches_its_exercise_only(course, lesson):
    """test_softmax.py is one exercise's matter, conftest.py and the misconceptions are everybody's."""
    (course.root / "tests").unlink()
    suites = course.root / "tests" / LESSON
    suites.mkdir(parents=True)
    for name in ("test_softmax.py", "test_causal_mask.py", "misconceptions.py", "samples.py"):
        (suites / name).write_text("")

    def now():
        return salts(course.lesson(LESSON), device="cpu", box="landlock", secret=b"s").suites

    before = now()
    (suites / "samples.py").write_text("# is not run when a class is graded")
    assert now() == before
    (suites / "test_softmax.py").write_text("# corrected")
    assert {name for name in before if before[name] != now()[name]} == {"softmax"}
    (suites / "misconceptions.py").write_text("# one more")
    assert all(before[name] != now()[name] for name in before)


def test_a_verdict_in_tf32_is_another_one(lesson, monkeypatch):
    """Where it is switched on or off, what a GPU gave is asked again; the CPU knows no TF32."""

    def now(device):
        return salts(lesson, device=device, box="landlock", secret=b"s").run

    before = {device: now(device) for device in ("cpu", "cuda", "both")}
    monkeypatch.setenv("AUTOGRADER_TF32", "1")
    assert {device for device in before if before[device] != now(device)} == {"cuda", "both"}


def test_the_secret_is_not_in_the_salts(lesson):
    """It is hashed: the cache may be seen by whoever sees results."""
    assert "c0ffee" not in str(salts(lesson, device="cpu", box="landlock", secret=b"c0ffee"))
