"""nbgrader started quickly is nbgrader all the same."""

import subprocess
import sys

import pytest
from nbgrader.api import Gradebook
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from autograder.quickly import newest, stamp_if_new


def dump(path):
    """All that a database holds, by SQLite's own words."""
    with create_engine(f"sqlite:///{path}").connect() as base:
        version = base.execute(text("SELECT version_num FROM alembic_version")).fetchall()
        return version, sorted(base.execute(text("SELECT type, name, sql FROM sqlite_master")).fetchall())


def test_a_new_gradebook_is_what_nbgrader_makes(tmp_path, monkeypatch):
    """Same tables, same schema version; and nbgrader, asked for that, starts no program."""
    monkeypatch.setenv("PATH", f"{sys.executable.rpartition('/')[0]}:/usr/bin:/bin")
    with Gradebook(f"sqlite:///{tmp_path / 'theirs.db'}"):
        pass
    stamp_if_new(f"sqlite:///{tmp_path / 'ours.db'}")
    monkeypatch.setattr(subprocess, "check_output", lambda *a, **k: pytest.fail("alembic was started"))
    with Gradebook(f"sqlite:///{tmp_path / 'ours.db'}"):
        pass
    ours, theirs = dump(tmp_path / "ours.db"), dump(tmp_path / "theirs.db")
    assert len(ours[0]) == 1
    assert ours[0] == theirs[0]
    assert [row[:2] for row in ours[1]] == [row[:2] for row in theirs[1]]


def test_a_gradebook_that_is_there_stays_as_it_is(tmp_path):
    """An older schema is nbgrader's to upgrade, with its own words for it."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with create_engine(url).begin() as base:
        base.execute(text("CREATE TABLE student (id TEXT)"))
    stamp_if_new(url)
    assert inspect(create_engine(url)).get_table_names() == ["student"]


def test_what_is_no_database_is_said(tmp_path):
    """The caller tells the instructor which file it is."""
    (tmp_path / "broken.db").write_text("this is no database" * 100)
    with pytest.raises(SQLAlchemyError):
        stamp_if_new(f"sqlite:///{tmp_path / 'broken.db'}")


@pytest.mark.parametrize("files", [{}, {"a": ("1", None), "b": ("2", None)}, {"a": ("1", "1")}, {"a": (None, None)}])
def test_no_newest_revision_no_stamp(tmp_path, files):
    """No file, two heads, a ring, a file that says nothing: then nbgrader asks alembic itself."""
    for name, (revision, before) in files.items():
        lines = [f"revision = {revision!r}" if revision else "revision = str()", f"down_revision = {before!r}"]
        (tmp_path / f"{name}.py").write_text("\n".join(lines))
    assert newest(tmp_path) is None


def test_the_grammar_of_addresses_is_left_out_only_meanwhile():
    """jsonschema does without it; whoever wants it afterwards has it, and whoever had it keeps it."""
    code = (
        "import sys\nfrom autograder.quickly import no_address_grammar\n"
        "with no_address_grammar():\n    import nbformat\n    assert 'lark' not in sys.modules\n"
        "assert 'rfc3987_syntax' not in sys.modules\n"
        "import types; sys.modules['rfc3987_syntax'] = here = types.ModuleType('here')\n"
        "with no_address_grammar():\n    assert sys.modules['rfc3987_syntax'] is here\n"
        "assert sys.modules['rfc3987_syntax'] is here\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
