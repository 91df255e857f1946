"""The command line: data on stdout, one line for each error, and an exit code that says whose fault it was."""

import json
import shutil
import sys
import tempfile

import pytest

from autograder import __version__, cli, marking
from autograder.class_run import Graded
from autograder.errors import SubmissionError
from autograder.results import ExerciseResult, Results, SubmissionResult, TestResult, from_json, to_json
from autograder.safetext import file_name

LESSON = "attention_from_scratch"


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command line in this process: its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "400")

    def command(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return command


@pytest.fixture
def engine(monkeypatch):
    """Lets a function of a submission stand for the engine; returns what it was asked for."""
    asked = {}

    def stand_in(judge=None, faults=()):
        def grade_class(course, lesson, submissions, *, device, box, on_result, **_):
            asked.update(device=device, box=box, students=[one.student for one in submissions])
            results = [(judge or all_right)(one) for one in submissions]
            for number, result in enumerate(results):
                on_result(Graded(result, details=("printed: hello",)), number)
            return Results(lesson.name, device, box, tuple(results), faults=tuple(faults))

        monkeypatch.setattr(marking, "grade_class", grade_class)
        monkeypatch.setattr("autograder.boxes.choose_box", lambda wanted: "landlock" if wanted == "auto" else wanted)
        return asked

    return stand_in


def all_right(submission):
    exercise = ExerciseResult("softmax", 15.0, 15.0, (TestResult("rows sum to one", "passed"),))
    return SubmissionResult(submission.student, str(submission.path), "graded", "", 15.0, 15.0, 0.1, (), (exercise,))


def unreadable(submission):
    return SubmissionResult(submission.student, str(submission.path), "unreadable", "is a [b]web page[/b]")


def test_a_class_is_graded_from_end_to_end(graded_course):
    """Model: 90 points. Release: 0. A cut-off file: unreadable, so exit code 1. stdout is results.json alone."""
    assert graded_course.command.returncode == 1, graded_course.command.stderr
    results = from_json(graded_course.command.stdout.encode())
    found = {one.student: (one.status, one.score) for one in results.submissions}
    assert found == {"ada": ("graded", 90), "bela": ("graded", 0), "eve": ("unreadable", 0)}


def test_results_and_feedback_lie_in_the_courses_state(graded_course):
    """The same bytes as on stdout, and a text for each student."""
    state = graded_course.course.state / LESSON
    assert (state / "results.json").read_text(encoding="utf-8") == graded_course.command.stdout
    assert "90 of 90 points" in (state / "feedback" / "ada.txt").read_text(encoding="utf-8")
    assert "could not be read" in (state / "feedback" / "eve.txt").read_text(encoding="utf-8")


def test_the_table_goes_to_stderr(graded_course):
    """Whoever pipes stdout gets data only."""
    assert "every test passes" in graded_course.command.stderr
    assert "nothing is answered" in graded_course.command.stderr


def test_all_graded_is_exit_code_0(run, engine, hand_in, filled):
    """Nothing on stdout unless it was asked for."""
    engine()
    hand_in("ada", filled())
    code, out, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    assert (code, out) == (0, "")
    assert "15 / 15" in err


def test_review_is_exit_code_0(run, engine, hand_in, filled):
    """A submission that a person should look at is graded."""
    engine(lambda one: SubmissionResult(one.student, "", "needs_review", "look at softmax"))
    hand_in("ada", filled())
    assert run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")[0] == 0


def test_an_unreadable_one_is_exit_code_1_and_its_markup_is_text(run, engine, hand_in, filled):
    """Words of a submission are shown, not obeyed."""
    engine(unreadable)
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    assert code == 1
    assert "[b]web page[/b]" in err


def test_our_fault_is_exit_code_2_and_named(run, engine, hand_in, filled):
    """A broken suite weighs more than a file that could not be read; the others are graded."""
    engine(unreadable, faults=["tests/attention_from_scratch/test_softmax.py: NameError"])
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    assert code == 2
    assert "test_softmax.py: NameError" in err


def test_json_goes_to_the_file_that_was_named(run, engine, hand_in, filled, course):
    """Schema 1, the same bytes as the course's own."""
    engine()
    hand_in("ada", filled())
    assert run("grade", "submitted", "--lesson", LESSON, "--no-gradebook", "--json", "out/results.json")[0] == 0
    written = (course.root / "out" / "results.json").read_bytes()
    assert written == (course.state / LESSON / "results.json").read_bytes()
    assert json.loads(written)["schema"] == 1
    assert to_json(from_json(written)) == written


def test_json_that_cannot_be_written_is_named(run, engine, hand_in, filled, course):
    """The message says which file, why, and what to do."""
    engine()
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook", "--json", "submitted")
    assert code == 2
    assert "submitted cannot be written" in err


def test_what_student_code_said_is_for_the_instructor(run, engine, hand_in, filled, course):
    """It is kept beside the feedback, not in it."""
    engine()
    hand_in("ada", filled())
    run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    state = course.state / LESSON
    assert "printed: hello" in (state / "details" / "ada.txt").read_text(encoding="utf-8")
    assert "printed" not in (state / "feedback" / "ada.txt").read_text(encoding="utf-8")


def test_a_name_that_cannot_name_a_file_gets_another(run, engine, hand_in, filled, course):
    """Control characters in a name reach no file name."""
    engine()
    hand_in("a\x1bda", filled())
    assert run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")[0] == 0
    assert (course.state / LESSON / "feedback" / f"{file_name('a' + chr(27) + 'da')}.txt").exists()


def test_marks_are_recorded_unless_told_otherwise(run, engine, hand_in, filled, course, empty_gradebook):
    """The gradebook is opened where nbgrader puts it."""
    engine()
    shutil.copy(empty_gradebook, course.root)
    hand_in("ada", filled())
    assert run("grade", "submitted", "--lesson", LESSON)[0] == 0


def test_no_box_is_warned_of(run, engine, hand_in, filled):
    """Only by an explicit flag, and never without a word."""
    engine()
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook", "--sandbox", "none")
    assert code == 0
    assert "warning: no box" in err


def test_auto_falls_back_to_the_cpu(run, engine, hand_in, filled, monkeypatch):
    """Without a GPU auto is the CPU, and nobody is asked."""
    asked = engine()
    monkeypatch.setattr("autograder.doctor.cuda_devices", lambda: 0)
    hand_in("ada", filled())
    assert run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")[0] == 0
    assert asked["device"] == "cpu"


def test_one_notebook_with_its_student(run, engine, hand_in, filled):
    """--student names the owner of a single file."""
    asked = engine()
    path = hand_in("ada", filled())
    assert run("grade", path, "--lesson", LESSON, "--no-gradebook", "--student", "zoe")[0] == 0
    assert asked["students"] == ["zoe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grade", "submitted"], "Missing option '--lesson'"),
        (["grade", "--lesson", LESSON], "Missing argument 'PATH...'"),
        (["grade", "submitted", "--lesson", LESSON, "--fast"], "No such option"),
        (["frobnicate"], "No such command"),
        (["grade", "submitted", "--lesson", "knitting"], "no lesson 'knitting'"),
        (["grade", "nowhere", "--lesson", LESSON], "nowhere does not exist"),
        (["grade", "empty", "--lesson", LESSON], "holds no submission"),
        (["grade", "submitted", "--lesson", LESSON, "--student", "nobody"], "no submission of 'nobody'"),
        (["grade", "submitted", "--lesson", LESSON, "--student", "../up"], "cannot be the name of a folder"),
        (["grade", "submitted", "submitted", "--lesson", LESSON], "in more than one PATH"),
        (["grade", "submitted", "--lesson", LESSON, "--device", "abacus"], "no device is called 'abacus'"),
        (["grade", "submitted", "--lesson", LESSON, "--sandbox", "cardboard"], "no box is called 'cardboard'"),
        (["build", "knitting"], "does not exist"),
    ],
)
def test_a_wrong_call_is_exit_code_2_and_one_line(run, hand_in, filled, course, arguments, message):
    """The line says what is wrong; nothing is on stdout."""
    hand_in("ada", filled())
    (course.root / "empty").mkdir()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_cuda_without_a_gpu_is_refused(run, hand_in, filled, monkeypatch):
    """Not a silent CPU run under another name."""
    monkeypatch.setattr("autograder.doctor.cuda_devices", lambda: 0)
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--device", "cuda")
    assert code == 2
    assert "needs a CUDA GPU" in err


def test_away_from_a_course_the_message_says_so(run, tmp_path, monkeypatch):
    """The next step is to change the folder."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run("grade", "x.ipynb", "--lesson", LESSON)
    assert code == 2
    assert "is not in a course" in err


def test_an_unexpected_error_is_one_line_and_a_log(run, engine, hand_in, filled, course):
    """The traceback is kept for a report, and not shown."""
    engine(lambda one: 1 / 0)
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    assert code == 2
    assert "ZeroDivisionError" in err
    assert "Traceback" in (course.state / "error.log").read_text(encoding="utf-8")


def test_the_log_goes_elsewhere_where_there_is_no_course(run, tmp_path, monkeypatch):
    """Even then it is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("autograder.doctor.examine", lambda start: 1 / 0)
    code, _, err = run("doctor")
    log = next(tmp_path.glob("autograder-*.log"))
    assert code == 2
    assert str(log) in err
    assert "ZeroDivisionError" in log.read_text(encoding="utf-8")


def test_theirs_is_exit_code_1(run, engine, hand_in, filled):
    """A file of theirs that stops the run is not our failure."""

    def broken(_):
        raise SubmissionError("x.ipynb is a zip archive. Ask the student again.")

    engine(broken)
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    assert code == 1
    assert "cannot be read: x.ipynb is a zip archive" in err


def test_ctrl_c_ends_quietly(run, engine, hand_in, filled):
    """What was graded so far stays."""

    def interrupt(_):
        raise KeyboardInterrupt

    engine(interrupt)
    hand_in("ada", filled())
    code, _, err = run("grade", "submitted", "--lesson", LESSON, "--no-gradebook")
    assert code == 130
    assert "stopped" in err


def test_build_says_what_it_did(run, course):
    """Up to date here, since a test keeps the notebooks so; the secret is made with the first build."""
    code, _, err = run("build", LESSON)
    assert code == 0
    assert "up to date" in err
    assert (course.state / "secret").exists()


def test_build_names_what_it_wrote_and_check_what_is_stale(run, course):
    """--check writes nothing, and fails."""
    for name in ("source", "release"):
        shutil.rmtree(course.root / name)
    code, _, err = run("build", LESSON, "--check")
    assert code == 2
    assert "stale: " in err
    assert not (course.root / "source").exists()
    code, _, err = run("build", LESSON)
    assert code == 0
    assert f"wrote source/{LESSON}/{LESSON}.ipynb" in err


def test_version_and_help(run):
    """The version alone on stdout; without a command, the help."""
    assert run("--version")[:2] == (0, f"{__version__}\n")
    assert run("--help")[0] == 0
    code, out, err = run()
    assert code == 2
    assert "grade" in out + err


def test_main_leaves_with_the_exit_code(monkeypatch):
    """What a shell sees."""
    monkeypatch.setattr(sys, "argv", ["autograder", "--version"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
