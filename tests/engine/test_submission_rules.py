"""Each rule of docs/submissions.md has its test: the number of a rule, and where it is held."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "submissions.md").read_text(encoding="utf-8")
MESSES, FILES, DOWNLOADS = "submissions/test_messes.py", "submissions/test_files.py", "test_downloads.py"
PROGRAM, READING, INTAKE = "test_program.py", "test_reading_rules.py", "test_intake.py"

HELD: dict[int, tuple[str, ...]] = {
    1: (f"{PROGRAM}::test_whatever_binds_the_name_is_the_answer", f"{MESSES}::static methods of a class"),
    2: (f"{PROGRAM}::test_repairs_say_what_was_done", f"{MESSES}::the stub below the answer"),
    3: (f"{PROGRAM}::test_different_answers_are_reviewed", f"{PROGRAM}::test_formatting_makes_no_difference"),
    4: (
        f"{READING}::test_a_copy_that_breaks_off_is_no_answer",
        f"{READING}::test_a_shorter_answer_below_is_asked_about",
    ),
    5: (f"{MESSES}::a library's object under its name", f"{MESSES}::its own result under its name"),
    6: (
        f"{PROGRAM}::test_code_in_text_is_graded_and_reviewed",
        f"{PROGRAM}::test_exec_and_eval_are_reviewed",
        f"{MESSES}::written to a file and never imported",
    ),
    7: (f"{MESSES}::git's conflict inside a cell",),
    8: (f"{READING}::test_leads", f"{MESSES}::renamed"),
    9: (f"{PROGRAM}::test_what_no_exercise_needs_is_not_run",),
    10: (f"{READING}::test_what_is_read_at_once_runs_first", f"{MESSES}::star imports below"),
    11: (
        f"{READING}::test_a_lost_helper_of_the_release_is_supplied",
        f"{READING}::test_the_last_lesson_without_its_given_cells",
        f"{MESSES}::first cell deleted",
    ),
    12: (f"{MESSES}::annotations of a package that is not here",),
    13: (f"{MESSES}::builtins shadowed by values", f"{MESSES}::module names shadowed by values"),
    14: ("submissions/test_graded.py::test_a_compiled_answer_has_its_points", f"{MESSES}::compiled afterwards"),
    15: (f"{PROGRAM}::test_whatever_binds_the_name_is_the_answer",),
    16: (f"{PROGRAM}::test_repairs_say_what_was_done", f"{PROGRAM}::test_what_no_exercise_needs_is_not_run"),
    17: (f"{MESSES}::pip in an answer", f"{MESSES}::Colab form", f"{MESSES}::bash cell"),
    18: (f"{PROGRAM}::test_syntax_error_loses_only_what_it_defines",),
    19: (f"{READING}::test_mending", f"{READING}::test_new_fstrings_are_read"),
    20: (f"{PROGRAM}::test_written_answers",),
    21: (f"{FILES}::test_a_file_is_read",),
    22: (f"{FILES}::test_a_file_is_read", "test_notebook.py::test_"),
    23: (f"{FILES}::test_a_file_is_refused", f"{FILES}::test_another_lessons_notebook_is_named"),
    24: (f"{DOWNLOADS}::test_links_pipes_and_devices_in_a_folder",),
    25: (f"{DOWNLOADS}::the newest counts, though it is broken", f"{DOWNLOADS}::a notebook goes before its export"),
    26: (f"{DOWNLOADS}::test_a_group_is_named", f"{INTAKE}::test_a_groups_result_goes_to_each_member"),
    27: (f"{DOWNLOADS}::test_late_marks_and_other_attempts_are_kept",),
    28: (f"{DOWNLOADS}::zips in a zip", f"{DOWNLOADS}::what systems leave behind"),
    29: (f"{DOWNLOADS}::Google Drive, names that say nothing",),
    30: (
        f"{DOWNLOADS}::test_who_handed_in_no_notebook_is_told_so",
        f"{DOWNLOADS}::test_nobodys_files_are_named",
    ),
    31: (
        f"{DOWNLOADS}::test_unsafe_members_are_refused_by_name",
        f"{DOWNLOADS}::test_an_archive_beyond_the_limit_is_refused_unpacked",
    ),
    32: (f"{INTAKE}::test_what_was_unpacked_is_gone_afterwards",),
    33: (
        f"{INTAKE}::test_a_roster_says_who_is_missing",
        f"{INTAKE}::test_two_people_of_one_name_are_matched_by_number",
    ),
    34: (f"{INTAKE}::test_collect_fills_nbgraders_folders",),
    35: (f"{INTAKE}::test_collect_overwrites_only_when_told",),
    36: (f"{INTAKE}::test_late_marks_outlive_collecting",),
}


def test_every_rule_has_its_test() -> None:
    """The document's numbers run without a gap, and each is in the table."""
    assert [int(number) for number in re.findall(r"^(\d+)\. ", TEXT, re.M)] == list(HELD)


@pytest.mark.parametrize("number", HELD)
def test_the_test_is_there(number: int) -> None:
    """Each test, or each mess of the corpus, that holds a rule exists."""
    for place in HELD[number]:
        file, _, name = place.partition("::")
        source = (ROOT / "tests" / "engine" / file).read_text(encoding="utf-8")
        assert f"def {name}" in source or f'"{name}"' in source, place


def test_the_stated_limits_are_the_real_ones() -> None:
    """The document's numbers are the code's."""
    from autograder.archives import MAX_ARCHIVE_MB, MAX_DEPTH, MAX_FILES, MAX_INNER_MB
    from autograder.textfile import MAX_MB

    assert (MAX_ARCHIVE_MB, MAX_INNER_MB, MAX_DEPTH, MAX_FILES, MAX_MB) == (1_000, 200, 3, 20_000, 50)
    assert all(words in TEXT for words in ("1 GB", "200 MB", "three deep", "20,000 files", "50 MB"))


def test_the_corpus_has_80_messes() -> None:
    """Distinct messes of notebooks and of files, without counting the platforms' layouts."""
    messes, files = ((ROOT / "tests" / "engine" / name).read_text(encoding="utf-8") for name in (MESSES, FILES))
    count = len(re.findall(r"^@?mess\(", messes, re.M)) + len(re.findall(r"^(?:read|refused)\(", files, re.M))
    assert count >= 80
