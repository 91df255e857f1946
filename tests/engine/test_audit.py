"""What this package does not do: unpickle, evaluate, start a shell, unpack blindly, read XML.

Whoever adds such a call has to say here, by file and name, why it is safe.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "autograder"
FILES = sorted(PACKAGE.rglob("*.py"))

MODULES = {  # imported from anywhere, they read data as code or start what data name
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "dbm", "marshal", "jsonpickle"),
    *("xml", "lxml", "defusedxml", "xmlrpc", "telnetlib", "ftplib", "code", "codeop", "pty", "commands"),
}
CALLS = {  # by the last names of what is called
    *("eval", "exec", "compile", "__import__", "breakpoint"),
    *("os.system", "os.popen", "os.execl", "os.execv", "os.execve", "os.execvp", "os.spawnl", "os.spawnv", "os.startfile"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "torch.export.load"),
    *("numpy.load", "np.load", "numpy.fromfile", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("shutil.unpack_archive", "tempfile.mktemp", "pandas.read_pickle", "logging.config.listen"),
}
METHODS = {"extractall", "extract", "__reduce__", "__setstate__"}  # of any object: archives write where members say
PARSED = "read or compiled, never run: how a student's code is taken apart"
OURS = "the course's own file: whoever can write it can write the marks"
REASONS = {  # (file, call): why
    ("inside/loading.py", "compile"): "student code, inside the box: that is what the box is for",
    ("inside/loading.py", "exec"): "the same",
    ("mending.py", "compile"): PARSED,
    ("statements.py", "compile"): PARSED,
    ("mutants.py", "compile"): "a changed model answer, to see whether it is Python",
    **{
        (f"{name}.py", call): OURS
        for name in ("diagnosis", "misconception", "picture", "reference")
        for call in ("exec", "compile")
    },
    ("layouts.py", "yaml.load"): "with a subclass of SafeLoader that knows plain values only",
}


def found_in(tree):
    """What a file does of the above: (line, what)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in names if name.split(".")[0] in MODULES or name in CALLS)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("builtins.")
            if name in CALLS or any(name.endswith(f".{method}") for method in METHODS):
                yield node.lineno, name
            for keyword in node.keywords:
                loose = isinstance(keyword.value, ast.Constant) and not keyword.value.value
                if keyword.arg == "shell" and not loose:
                    yield node.lineno, "shell="
                if keyword.arg in ("allow_pickle", "weights_only") and loose == (keyword.arg == "weights_only"):
                    yield node.lineno, f"{keyword.arg}="


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path):
    """By what a file imports and calls; the exceptions are listed above, with their reasons."""
    name = str(path.relative_to(PACKAGE))
    tree = ast.parse(path.read_text("utf-8"))
    assert [(line, what) for line, what in found_in(tree) if (name, what) not in REASONS] == []


def test_the_search_finds_what_it_looks_for():
    """Each kind once: or the test above could not fail."""
    code = (
        "import pickle, xml.dom\nfrom os import system\nfrom xml.etree import ElementTree\neval('1')\ntorch.load(x)\n"
        "subprocess.run(x, shell=True)\nsubprocess.run(x, shell=flag)\narchive.extractall()\nnp.load(x, allow_pickle=True)\n"
        "torch.save(x); subprocess.run(x, shell=False); re.compile('x'); json.load(x)\nload(x, weights_only=False)"
    )
    assert [line for line, _ in found_in(ast.parse(code))] == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11]


def test_every_reason_is_still_needed():
    """An exception for a call that is gone would let the next one in unseen."""
    trees = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in FILES}
    needed = {(name, what) for name, tree in trees.items() for _, what in found_in(tree)}
    assert set(REASONS) <= needed


def test_every_exception_from_the_security_rules_has_a_reason_beside_it():
    """ruff's S rules are clean because somebody looked, not because they were silenced."""
    for path in FILES:
        for line in path.read_text("utf-8").splitlines():
            assert not re.search(r"noqa: S\d+(?:, S\d+)*\s*$", line), f"{path}: {line}"


def test_student_text_is_made_safe_in_one_place():
    """Nobody else escapes markup or pages: rich's own escape leaves half tags, jinja2 without autoescape all of them."""
    for path in FILES:
        text = path.read_text("utf-8")
        if path.name != "safetext.py":
            assert "rich.markup" not in text, path
            assert "jinja2.Environment(" not in text, path
