"""What a submission does wrong costs the test that met it, under its right name, and nothing else."""

import gc
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autograder.errors import (
    StudentCrash,
    StudentError,
    StudentMemory,
    StudentMissing,
    StudentOutput,
    StudentTimeout,
)
from autograder.oracle import KEPT_BYTES

FRAMED = "def framed(m): return len(m).to_bytes(8, 'little') + m\n"  # a header without a body
GOOD = f"import os, sys, time, torch\ndef good(x): return x + 1\n{FRAMED}"


@pytest.fixture
def impatient(sandbox, monkeypatch):
    """The box with limits that are met quickly: impatient(call_s=0.4)."""

    def set_limits(**limits):
        monkeypatch.setattr(sandbox, "limits", replace(sandbox.limits, **{"call_s": 0.4, **limits}))

    return set_limits


BAD = {
    "hangs": (StudentTimeout, "while True: pass"),
    "sleeps": (StudentTimeout, "time.sleep(1e6)"),
    "segfault": (StudentCrash, "import signal; os.kill(os.getpid(), signal.SIGSEGV)"),
    "exit": (StudentCrash, "os._exit(0)"),
    "null pointer": (StudentCrash, "import ctypes; ctypes.string_at(0)"),
    "abort": (StudentCrash, "os.abort()"),
    "closes its socket": (StudentCrash, "os.close(3)"),
    "deep recursion": (StudentError, "f = lambda: f(); f()"),
    "memory at once": (StudentMemory, "torch.ones(1 << 33, dtype=torch.uint8)"),
    "memory of Python at once": (StudentMemory, "bytearray(1 << 33)"),
    "memory in steps": (StudentMemory, "x = []\nwhile True: x.append(torch.ones(1 << 22, dtype=torch.uint8))"),
    "print flood": (StudentOutput, "while True: print('x' * 1000)"),
    "large reply": (StudentError, "return torch.ones(16 << 20, dtype=torch.uint8)"),
    "giant expanded reply": (StudentOutput, "return torch.ones(1).expand(1 << 40)"),
    "many expanded replies": (StudentOutput, "return [torch.ones(1).expand(1 << 20) for _ in range(9)]"),
    "a header of megabytes": (StudentOutput, "return ['x' * 2000 for _ in range(3000)]"),
    "a forged length": (StudentOutput, "os.write(3, b'\\xff' * 8); time.sleep(9)"),
    "garbage": (StudentOutput, "os.write(3, bytes(8) + b'garbage'); time.sleep(9)"),
    "a forged Loaded": (StudentOutput, "os.write(3, framed(b'{\"type\":\"Loaded\",\"found\":[]}')); time.sleep(9)"),
    "a thread that writes": (
        StudentOutput,
        "import threading\nthreading.Thread(target=os.write, args=(3, b'\\xff' * 64)).start()\ntime.sleep(9)",
    ),
}  # fmt: skip
OF_THE_ENGINE = {"deep recursion": RecursionError, "large reply": OverflowError, "memory at once": RuntimeError,
                 "memory of Python at once": MemoryError, "memory in steps": RuntimeError}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_bad_exercise_costs_its_own_call_only(name, student_of, impatient):
    """Under its right cause; the call after it gets a fresh child, where the rest still works."""
    error, body = BAD[name]
    impatient(call_s=3.0 if any(word in name for word in ("memory", "large", "mega")) else 0.5)
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    student = student_of(f"{GOOD}def bad():\n{lines}", "good", "bad")
    assert student.good(torch.ones(1)).item() == 2
    with pytest.raises(OF_THE_ENGINE.get(name, error)) as caught:
        student.bad()
    cause = caught.value if isinstance(caught.value, StudentError) else caught.value.__cause__
    assert isinstance(cause, error)
    assert cause.cause == error.cause
    assert student.good(torch.ones(1)).item() == 2


def test_a_late_answer_is_nobodys(student_of, impatient):
    """Unsolicited frames before and after a call never stand for the answer to the next one."""
    impatient()
    forged = '{"type":"Returned","call":0,"value":42,"views":[],"same":[],"state":["float32",true,"cpu",0,false]}'
    student = student_of(
        f"""
        import os
        M = {forged!r}.encode()
        def twice():
            os.write(3, len(M).to_bytes(8, "little") + M)
            return 1
        def good(): return "good"
        """,
        "twice",
        "good",
    )
    assert student.twice() == 42  # the student's own answer, whoever writes it
    got = []
    for _ in range(3):
        try:
            got.append(student.good())
        except StudentError as error:
            assert error.cause == "output"  # noqa: PT017 - either is right, but never another's answer as good
    assert set(got) <= {"good", 1}


def test_what_comes_unasked_is_refused(student_of, impatient):
    """A frame that lies ready before a call is made does not stand for its answer."""
    impatient()
    message = '{"type":"Returned","call":0,"value":42,"views":[],"same":[],"state":["float32",true,"cpu",0,false]}'
    source = f"""
        import os, threading
        M = {message!r}.encode()
        def early():
            threading.Timer(0.1, lambda: os.write(3, len(M).to_bytes(8, "little") + M)).start()
            return 1
        def good(): return "good"
        """
    student = student_of(source, "early", "good")
    assert student.early() == 1
    time.sleep(0.5)
    with pytest.raises(StudentOutput) as caught:
        student.good()
    assert "unasked" in caught.value.text
    assert student.good() == "good"


def test_two_time_outs_are_enough(student_of, impatient):
    """The third call of a function that hangs is not waited for; other functions are."""
    impatient(call_s=0.3)
    student = student_of("def f():\n    while True: pass\ndef g(): return 1", "f", "g")
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(StudentTimeout):
            student.f()
    waited = time.monotonic()
    for _ in range(20):
        with pytest.raises(StudentTimeout):
            student.f()
    assert waited - started < 2 * 0.3 + 1.0
    assert time.monotonic() - waited < 0.2
    assert student.g() == 1


def test_a_submission_has_so_much_time(student_of, impatient):
    """Slow calls end when the submission's time is over, and whatever comes then is a time-out at once."""
    impatient(call_s=5.0, submission_s=0.8)
    student = student_of("import time\ndef f(): time.sleep(0.3)")
    with pytest.raises(StudentTimeout):
        [student.f() for _ in range(10)]
    started = time.monotonic()
    with pytest.raises(StudentTimeout) as caught:
        student.f()
    assert "has used its 0.8 s" in caught.value.text
    assert time.monotonic() - started < 0.1


# --- loading


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("while True: pass", "timeout"), ("os._exit(1)", "crash"), ("import ctypes\nctypes.string_at(0)", "crash"),
        ("os.close(3)", "crash"), ("raise ValueError('x')", "error"), ("x = bytearray(1 << 34)", "error"),
        ("while True: print('x' * 1000)", "output"), ("sys.exit()", "error"), ("os.write(3, b'\\xff' * 8)", "output"),
    ],
)  # fmt: skip
def test_a_statement_that_hangs_or_kills_is_left_out(student_of, impatient, statement, cause):
    """The notebook is run again without it; the exercises before and after it work."""
    impatient()
    student = student_of(f"{GOOD}{statement}\ndef later(): return 5", "good", "later")
    assert student.good(torch.ones(1)).item() == 2
    assert student.later() == 5
    (problem,) = student.session.problems.values()
    assert problem.cause == cause


def test_a_notebook_of_nothing_but_hanging_statements_ends(student_of, impatient):
    """Every statement hangs: the submission's time ends the loop."""
    impatient(call_s=0.2, submission_s=1.0)
    student = student_of("\n".join(["while True: pass"] * 50) + "\ndef f(): return 1")
    started = time.monotonic()
    with pytest.raises(StudentTimeout) as caught:
        student.f()
    assert time.monotonic() - started < 2.5
    assert "submission" in caught.value.text


def test_an_exercise_that_cannot_be_defined_says_why(student_of):
    """The type of the error; a type's name that a student made up is none."""
    student = student_of("f = undefined", reference={"f": len})
    with pytest.raises(StudentMissing) as caught:
        student.f()
    assert caught.value.text == "f could not be defined: NameError"
    forged = 'M = b\'{"type":"Ran","kind":"SECRET 3.14"}\''
    source = f"import os\n{FRAMED}{forged}\nf = os.write(3, framed(M))"
    student = student_of(source, reference={"f": len})
    with pytest.raises(StudentError) as caught:
        student.f()
    assert "SECRET" not in caught.value.text


def test_statements_run_once_and_in_order(student_of):
    """With their names, future flags, and a `__main__` of the student's own."""
    student = student_of(
        """
        from __future__ import annotations
        import sys
        log = []
        log.append("a")
        class Late:
            def f(self, other: NotDefined) -> Late: ...
        def f(): return log, __name__, sys.modules["__main__"].log is log
        """
    )
    assert student.f() == (["a"], "__main__", True)


def test_an_import_that_fails_is_no_end(student_of):
    """A module that is not installed is missing where it is used, by name."""
    source = "import not_installed_anywhere as nia, math\ndef f(): return math.pi\ndef g(): return nia.x"
    student = student_of(source, "f", "g")
    assert student.f() > 3
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        student.g()


# --- lost exercises


def double(x):
    return 2 * x


def resident_bytes():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


LOSES = """
import torch
def before(x): return missing(x)
def missing(x): raise NotImplementedError
def after(x, n=1): return missing(x) * 3
def size(n): return missing(torch.ones(n))
"""
NAMES = ("before", "missing", "after", "size")


@pytest.fixture
def loses(student_of):
    def make(source=LOSES, names=NAMES, **reference):
        return student_of(source, *names, lost=("missing",), reference={"missing": double, **reference})

    return make


def test_callers_of_a_lost_exercise_get_the_reference(loses):
    """With gradients; the lost exercise itself stays missing."""
    student = loses()
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert student.after(x).tolist() == [6, 12]
    assert torch.autograd.gradcheck(student.after, (x,), fast_mode=True)
    assert student.session.asked() == ["missing"]
    with pytest.raises(StudentMissing) as caught:
        student.missing(x)
    assert "untouched stub" in caught.value.text


def test_only_later_exercises_may_ask(loses):
    """An exercise that comes before the lost one meets an open stub."""
    with pytest.raises(NotImplementedError):
        loses().before(torch.ones(2))


def test_the_references_errors_reach_the_caller(loses):
    """As the built-in type; the reference's tensors never as more than that."""

    def picky(x):
        raise ValueError("wrong shape")

    with pytest.raises(ValueError, match="wrong shape"):
        loses(missing=picky).after(torch.ones(2))


@pytest.mark.parametrize(
    ("reference", "argument"),
    [
        (double, 1 << 20),
        (lambda x: x[:, None].expand(-1, 1 << 16).clone(), 1 << 15),
        (lambda x: torch.ones(1 << 40), 2),
        (lambda x: [bytearray(1 << 20) for _ in range(1 << 20)], 2),
    ],
    ids=["a large argument", "a large product", "a giant", "in steps"],
)
def test_an_ask_cannot_exhaust_the_grader(loses, reference, argument):
    """Sizes are bounded before the reference sees them, and its memory while it runs."""
    with pytest.raises((MemoryError, RuntimeError)):
        loses(missing=reference).size(argument)
    assert loses().size(3).tolist() == [2, 2, 2]


def test_what_is_kept_for_gradients_is_limited(loses):
    """The graph of an ask holds more than its result: asks by the dozen do not make the grader grow."""

    def deep(x):
        for _ in range(200):
            x = (x + 1).sin()
        return x.sum()

    body = "return len([missing(torch.ones(1 << 15, requires_grad=True)) for _ in range(40)])"
    before = resident_bytes()
    assert loses(LOSES.replace("return missing(x) * 3", body), missing=deep).after(torch.ones(2)) == 40
    assert resident_bytes() - before < 3 * KEPT_BYTES


def test_an_ask_has_so_many_parts(loses):
    """A list that names one tensor a hundred thousand times would make the reference work for minutes."""
    body = "return missing([x] * 5000)"
    with pytest.raises(StudentOutput):
        loses(LOSES.replace("return missing(x) * 3", body), missing=sum).after(torch.ones(2))


def test_large_integers_are_no_ask(loses):
    """A mask of a million tokens is not made in the grader."""
    source = LOSES.replace("missing(torch.ones(n))", "missing(n)")
    with pytest.raises(MemoryError):
        loses(source).size(10**6)
    assert loses(source).size(4) == 8


@pytest.mark.parametrize("body", ["\n    while True: missing(x)", "[missing(x) for _ in range(10**6)]"])
def test_asking_for_ever_ends(loses, impatient, body):
    """At the deadline of the call, or by the number of asks."""
    impatient(call_s=1.0)
    started = time.monotonic()
    with pytest.raises(StudentError):
        loses(LOSES.replace("return missing(x) * 3", body)).after(torch.ones(2))
    assert time.monotonic() - started < 3.0


def test_refused_asks_end_too(loses, impatient):
    """An exercise that may not ask and asks on and on is no endless conversation."""
    impatient(call_s=0.5)
    body = "while True:\n        try: missing(x)\n        except NotImplementedError: pass"
    started = time.monotonic()
    with pytest.raises(StudentError):
        loses(LOSES.replace("def before(x): return missing(x)", f"def before(x):\n    {body}")).before(torch.ones(2))
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "ask",
    [
        '{"type":"Ask","name":"os.system","args":[],"kwargs":{"d":[]},"views":[]}',
        '{"type":"Ask","name":"missing","args":{"t":9},"kwargs":{"d":[]},"views":[]}',
        '{"type":"Ask","name":"missing","args":[],"kwargs":{"d":[]},"views":[[0,"float32",[9],[1],0]]}',
    ],
)
def test_a_forged_ask_ends_the_child(loses, ask):
    """For a name that is not lost, with a tensor that is not there."""
    body = f"import os; os.write(3, framed({ask.encode()!r}))"
    with pytest.raises(StudentOutput):
        loses(FRAMED + LOSES.replace("return missing(x) * 3", body)).after(torch.ones(2))


def test_gradients_of_an_ask_that_was_not_made(loses):
    """Refused, like those of an ask that was forgotten since."""
    ask = '{"type":"Ask","name":"missing","args":[],"kwargs":[],"views":[],"vjp":7}'
    body = f"import os; os.write(3, framed({ask.encode()!r})); return os.read(3, 8)"
    assert loses(FRAMED + LOSES.replace("return missing(x) * 3", body)).after(torch.ones(2)).kind == "object"


def test_an_answer_that_is_replaced_is_asked_for(student_of):
    """The reference stands in for an earlier answer that is wrong, where the session is told so."""
    source = "def first(x): return x\ndef second(x): return first(x) + 1"
    student = student_of(source, "first", "second", reference={"first": double, "second": double})
    assert student.second(torch.ones(1)).item() == 2
    student.session.renew()
    student.session.replaced = frozenset(["first"])
    assert student.second(torch.ones(1)).item() == 3
