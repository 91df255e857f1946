"""Code as people leave it: every way of writing and placing an answer that needs a rule of its own.

Each mess is a function that changes the solved notebook of a lesson; it says what must come of it. Where nothing is
said, every exercise is right and nobody has to look.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

Notebook = dict[str, Any]


@dataclass(frozen=True)
class Mess:
    """What is done to a notebook, and what comes of it."""

    make: Callable[[Notebook, Any], None]
    loses: Callable[[Any], set[str]]  # exercises that are not right
    repair: str  # words that the repairs hold; "" for none of them, "*" for whatever they are
    review: str  # words that the reasons for review hold; "" for none of them
    message: str  # words of what is said about the first exercise


MESSES: dict[str, Mess] = {}


def mess(
    name: str,
    repair: str = "",
    review: str = "",
    message: str = "",
    loses: Callable[[Any], set[str]] = lambda student: set(),
) -> Callable[[Callable[[Notebook, Any], None]], Callable[[Notebook, Any], None]]:
    """Adds a function to the corpus."""

    def add(make: Callable[[Notebook, Any], None]) -> Callable[[Notebook, Any], None]:
        assert name not in MESSES
        MESSES[name] = Mess(make, loses, repair, review, message)
        return make

    return add


def first(student: Any) -> set[str]:
    return {student.first}


def those_that_call_it(student: Any) -> set[str]:
    return {exercise.name for exercise in student.lesson.exercises}


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def put(cell: dict[str, Any], source: str) -> None:
    cell["source"] = source.splitlines(keepends=True)


def code(nb: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in nb["cells"] if cell["cell_type"] == "code"]


def own(nb: Notebook, name: str) -> dict[str, Any]:
    """The cell of an exercise."""
    return next(cell for cell in nb["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == name)


def answers(nb: Notebook, student: Any) -> list[dict[str, Any]]:
    return [own(nb, exercise.name) for exercise in student.lesson.exercises]


def add(nb: Notebook, source: str, kind: str = "code", at: int | None = None) -> None:
    cell = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    nb["cells"].insert(len(nb["cells"]) if at is None else at, cell)


def everywhere(change: Callable[[str], str]) -> Callable[[Notebook, Any], None]:
    """Changes the text of every answer's cell."""

    def make(nb: Notebook, student: Any) -> None:
        for cell in answers(nb, student):
            put(cell, change(text(cell)))

    return make


def scratch(source: str) -> Callable[[Notebook, Any], None]:
    """Adds a cell of one's own at the start and at the end."""

    def make(nb: Notebook, student: Any) -> None:
        filled = source.replace("FIRST", student.first)
        add(nb, filled)
        add(nb, filled, at=1)

    return make


# --- magics, forms and what else is no Python

mess("Colab form")(everywhere(lambda s: '#@title My answer { display-mode: "form" }\n' + s))
mess("%%time", "line 1 was left out")(everywhere(lambda s: "%%time\n" + s))
mess("%%capture after a comment", "line 2 was left out")(everywhere(lambda s: "# mine\n%%capture out\n" + s))
mess("cell magic in the middle", "left out")(everywhere(lambda s: "ready = 1\n%%time\n" + s))
mess("pip in an answer", "left out")(everywhere(lambda s: "!pip install -q torch einops\n" + s))
mess("pip as a magic", "left out")(everywhere(lambda s: "%pip install torch\n" + s))
mess("matplotlib inline at the end", "left out")(everywhere(lambda s: s + "\n%matplotlib inline\n"))
mess("help marks", "left out")(everywhere(lambda s: "torch.exp?\n" + s + "\n?torch\ntorch??\n"))
mess("shell with a variable", "left out")(everywhere(lambda s: s + "\nfiles = !ls\nprint(files)\n"))
mess("drive mounted in an answer", "left out")(
    everywhere(lambda s: "from google.colab import drive\ndrive.mount('/content/drive')\n" + s)
)
mess("VS Code's cells in a cell")(everywhere(lambda s: "# %%\n" + s + "\n# %% next\n"))
mess("prompts pasted with the code", "*")(
    everywhere(lambda s: "\n".join((">>> " if line[:1].strip() else "... ") + line for line in s.split("\n")))
)
mess("IPython's prompts", "*")(
    everywhere(
        lambda s: "\n".join(("In [3]: " if number == 0 else "   ...: ") + line for number, line in enumerate(s.split("\n")))
    )
)
mess("bash cell")(scratch("%%bash\nFIRST=1\nrm -rf /tmp/x"))
mess("HTML cell")(scratch("%%html\n<script>def FIRST(x): return 1</script>"))
mess("a broken magic")(scratch("%%\n%\n!\n?"))
mess("other languages")(scratch("%%R\nFIRST <- function(x) { x }"))

# --- looks

mess("whole cell indented", "*")(everywhere(lambda s: textwrap.indent(s, "    ")))
mess("whole cell indented by a tab", "*")(everywhere(lambda s: textwrap.indent(s, "\t")))
mess("tabs")(everywhere(lambda s: s.replace("    ", "\t")))
mess("tabs and spaces mixed", "tabs and spaces")(everywhere(lambda s: s.replace(" " * 8, "\t")))
mess("Windows line ends")(everywhere(lambda s: s.replace("\n", "\r\n")))
mess("old Mac line ends")(everywhere(lambda s: s.replace("\n", "\r")))
mess("no-break spaces", "typed in a word processor")(everywhere(lambda s: s.replace(" = ", "\u00a0=\u00a0")))
mess("curly quotes", "typed in a word processor")(
    everywhere(lambda s: s.replace('"""', "“””", 1).replace('"""', "”””", 1) + "\nlabel = ‘mine’\n")
)
mess("zero-width spaces", "typed in a word processor")(everywhere(lambda s: s.replace("(", "(\u200b", 1)))
mess("a real minus", "typed in a word processor")(everywhere(lambda s: s + "\nleft = 3 \u2212 2\n"))
mess("byte order mark in the cell", "*")(everywhere(lambda s: "\ufeff" + s))
mess("trailing spaces")(everywhere(lambda s: s.replace("\n", "   \n")))
mess("backslashes at line ends")(everywhere(lambda s: s.replace(" = ", " = \\\n        ")))
mess("semicolons", "left out")(everywhere(lambda s: s.rstrip() + ";\nprint(1); print(2);"))
mess("form feeds")(everywhere(lambda s: "\x0c\n" + s))
mess("emoji", "left out")(everywhere(lambda s: s + "\nprint('🎉 ∑ √d')\n"))

# --- what stands beside the answers

mess("Python 2 in a scratch cell")(scratch("print 'hello'\nraw_input()"))
mess("Python 2 in an answer's cell", "Lines that are not Python")(everywhere(lambda s: s + "\nprint 'done'\n"))
mess("nested f-string quotes in a scratch cell")(scratch('d = {"a": 1}\nprint(f"{d["a"]}")'))
mess("infinite loop")(scratch("while True:\n    pass"))
mess("failing assert first")(scratch("assert FIRST(1) == 2, 'no'"))
mess("error on purpose")(scratch("1 / 0"))
mess("input")(scratch("name = input('name?')\nn = int(input())"))
mess("exit")(scratch("import sys\nsys.exit()\nexit()\nquit()"))
mess("deleted at the end")(scratch("del FIRST"))
mess("deleted in a loop")(scratch("for name in list(globals()):\n    if name == 'FIRST':\n        del globals()[name]"))
mess("reset")(scratch("%reset -f"))
mess("default dtype and device")(
    scratch("torch.set_default_dtype(torch.float16)\ntorch.set_default_device('cuda')\ntorch.set_grad_enabled(False)")
)
mess("unittest")(
    scratch("import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        FIRST(1)\nunittest.main()")
)
mess("widgets")(scratch("import ipywidgets as w\nw.interact(FIRST, x=(0, 9))"))
mess("downloads")(scratch("from google.colab import files\nfiles.download('x')\nimport requests\nrequests.get('http://x')"))
mess("threads")(scratch("import threading\nthreading.Thread(target=print).start()"))
mess("await")(scratch("import asyncio\nawait asyncio.sleep(9)"))
mess("builtins shadowed by values")(
    scratch("sum = 0\nmax = 3\nlist = [1]\nlen = 5\nrange = (0, 1)\nid = 7\nisinstance = None\nzip = min = 1")
)
mess("module names shadowed by values")(scratch("math = 95\ntorch_version = 2\nF = 3.0\nnn = None"))
mess("another notebook's leftovers")(scratch("def FIRST_test():\n    return FIRST(1)\nresult = FIRST_test()"))
mess("star imports below", "*")(lambda nb, student: add(nb, "from torch import *\nfrom math import *"))
mess("empty and null cells")(
    lambda nb, student: nb["cells"].extend([{"cell_type": "code", "source": [], "metadata": {}}, None, 3, {}])
)


# --- other ways to bind a name

mess("inside main", "*")(everywhere(lambda s: 'if __name__ == "__main__":\n' + textwrap.indent(s, "    ")))
mess("inside if True", "*")(everywhere(lambda s: "if True:\n" + textwrap.indent(s, "    ")))
mess("inside try", "*")(
    everywhere(lambda s: "try:\n" + textwrap.indent(s, "    ") + "\nexcept Exception as error:\n    print(error)")
)
mess("inside with no_grad for the definition only", "*")(
    everywhere(lambda s: "with torch.enable_grad():\n" + textwrap.indent(s, "    "))
)


@mess("static methods of a class")
def _(nb: Notebook, student: Any) -> None:
    cell, name = own(nb, student.first), student.first
    if text(cell).startswith("def "):
        put(cell, "class Ops:\n    @staticmethod\n" + textwrap.indent(text(cell), "    ") + f"\n{name} = Ops.{name}\n")


@mess("bound to another name", "*")
def _(nb: Notebook, student: Any) -> None:
    cell, name = own(nb, student.first), student.first
    put(cell, text(cell).replace(f"def {name}(", "def mine(").replace(f"class {name}(", "class mine("))
    add(nb, f"{name} = mine")


@mess("made by a factory")
def _(nb: Notebook, student: Any) -> None:
    cell, name = own(nb, student.first), student.first
    put(cell, "def factory():\n" + textwrap.indent(text(cell), "    ") + f"\n    return {name}\n\n{name} = factory()\n")


@mess("a decorator of one's own")
def _(nb: Notebook, student: Any) -> None:
    add(
        nb,
        "import functools\ndef logged(f):\n    return functools.wraps(f)(lambda *a, **k: f(*a, **k))",
        at=1,
    )
    cell = own(nb, student.first)
    if text(cell).startswith("def "):
        put(cell, "@logged\n" + text(cell))


def decorated(line: str) -> Callable[[Notebook, Any], None]:
    def make(nb: Notebook, student: Any) -> None:
        for cell in answers(nb, student):
            if text(cell).startswith("def "):
                put(cell, f"{line}\n" + text(cell))

    return make


mess("compiled", "torch.compile")(decorated("@torch.compile"))
mess("compiled with options", "torch.compile")(decorated("@torch.compile(dynamic=True, mode='reduce-overhead')"))
mess("compiled afterwards", "torch.compile")(
    lambda nb, student: add(nb, "\n".join(f"{each.name} = torch.compile({each.name})" for each in student.lesson.exercises))
)
mess("a cache", "*")(
    lambda nb, student: add(nb, f"import functools\n{student.first} = functools.wraps({student.first})({student.first})")
)
mess("annotations with names that are not there", "annotations")(
    everywhere(lambda s: s.replace("):\n", ") -> Tensor:\n", 1) if s.startswith("def ") else s + "\ny: Tensor\n")
)
mess("annotations of a package that is not here", "annotations")(
    everywhere(
        lambda s: (
            "from jaxtyping import Float\n"
            + (s.replace("):\n", ') -> Float[torch.Tensor, "b n"]:\n', 1) if s.startswith("def ") else s)
        )
    )
)


# --- where it stands

mess("cells in reverse order")(lambda nb, student: nb["cells"].reverse())


@mess("all in one cell", "*")
def _(nb: Notebook, student: Any) -> None:
    put(code(nb)[0], "\n\n".join(text(cell) for cell in code(nb)))
    nb["cells"] = [cell for cell in nb["cells"] if cell["cell_type"] != "code" or cell is code(nb)[0]]


@mess("a cell for each line of the first cell")
def _(nb: Notebook, student: Any) -> None:
    setup = code(nb)[0]
    place = nb["cells"].index(setup)
    for line in reversed(text(setup).splitlines()):
        add(nb, line, at=place)
    nb["cells"].remove(setup)


@mess("first cell deleted", "was supplied")
def _(nb: Notebook, student: Any) -> None:
    nb["cells"].remove(code(nb)[0])


@mess("only the answers kept", "*")
def _(nb: Notebook, student: Any) -> None:
    nb["cells"] = answers(nb, student) + [cell for cell in nb["cells"] if cell["cell_type"] == "markdown"]


@mess("imports at the bottom")
def _(nb: Notebook, student: Any) -> None:
    nb["cells"].append(nb["cells"].pop(nb["cells"].index(code(nb)[0])))


@mess("a helper in another cell")
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    head, line, rest = text(cell).partition("\n")
    add(nb, "def note(*things):\n    return SCALE\n\nSCALE = 1", at=1)
    if head.startswith("def "):
        put(cell, head.replace("):", ", *, _extra=note()):") + line + rest)


@mess("a device chosen at top level")
def _(nb: Notebook, student: Any) -> None:
    add(
        nb,
        "if torch.cuda.is_available():\n    device = torch.device('cuda')\nelse:\n    device = torch.device('cpu')",
        at=1,
    )
    cell = own(nb, student.first)
    head, line, rest = text(cell).partition("\n")
    if head.startswith("def "):
        put(cell, head.replace("):", ", *, where=device):") + line + rest)


@mess("a parameter of a form")
def _(nb: Notebook, student: Any) -> None:
    add(nb, 'one = 1 #@param {type:"integer"}', at=1)
    cell = own(nb, student.first)
    head, line, rest = text(cell).partition("\n")
    if head.startswith("def "):
        put(cell, head.replace("):", ", *, factor=one):") + line + rest)


# --- stubs, copies and several answers


@mess("the stub below the answer", "open stub")
def _(nb: Notebook, student: Any) -> None:
    add(nb, student.lesson.exercises[0].stub)


@mess("the stub above the answer in its cell", "open stub")
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    put(cell, student.lesson.exercises[0].stub + "\n\n" + text(cell))


@mess("all stubs pasted again", "open stub")
def _(nb: Notebook, student: Any) -> None:
    for exercise in student.lesson.exercises:
        add(nb, exercise.stub)


@mess("every cell twice", "more than once, alike")
def _(nb: Notebook, student: Any) -> None:
    nb["cells"] += [dict(cell) for cell in nb["cells"]]


@mess("a first try above", "different answers", "different answers")
def _(nb: Notebook, student: Any) -> None:
    name = student.first
    add(nb, f"def {name}(*x):\n    return x\n", at=2)


@mess("a wrong answer below", "different answers", "different answers", loses=those_that_call_it)
def _(nb: Notebook, student: Any) -> None:
    add(nb, f"def {student.first}(*x):\n    return 3\n")


@mess("a library's function under its name", "binds the name to")
def _(nb: Notebook, student: Any) -> None:
    add(nb, f"from torch import softmax as {student.first}")


@mess("a library's object under its name", "binds the name to")
def _(nb: Notebook, student: Any) -> None:
    add(nb, f"{student.first} = torch.nn.Softmax(dim=-1)")


@mess("its own result under its name", "binds the name to")
def _(nb: Notebook, student: Any) -> None:
    add(nb, f"{student.first} = {student.first}(torch.ones(3))")


@mess("a number under its name", "binds the name to")
def _(nb: Notebook, student: Any) -> None:
    add(nb, f"{student.first} = 3")


@mess("stubs only for the first", loses=first)
def _(nb: Notebook, student: Any) -> None:
    put(own(nb, student.first), student.lesson.exercises[0].stub)


@mess("git's conflict inside a cell", "different answers", "different answers")
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    other = f"def {student.first}(*x):\n    return 3\n"
    put(cell, f"<<<<<<< HEAD\n{other}=======\n{text(cell)}\n>>>>>>> theirs\n")


# --- no code cell


@mess("answers in Markdown cells", "not a code cell", "no code cell")
def _(nb: Notebook, student: Any) -> None:
    for cell in answers(nb, student):
        put(cell, "Here it is:\n\n```python\n" + text(cell) + "\n```\n")
        cell["cell_type"] = "markdown"


@mess("answers in raw cells", "not a code cell", "no code cell")
def _(nb: Notebook, student: Any) -> None:
    for cell in answers(nb, student):
        cell["cell_type"] = "raw"


@mess("written to a file and imported", "*")
def _(nb: Notebook, student: Any) -> None:
    cell, name = own(nb, student.first), student.first
    put(cell, "%%writefile answers.py\nimport math\nimport torch\nfrom torch import nn\n" + text(cell))
    add(nb, f"from answers import {name}")


@mess("written to a file and never imported", "*", "no code cell")
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    put(cell, "%%writefile answers.py\n" + text(cell))


# --- what is lost, and what is said of it


@mess("a syntax error", "*", message="invalid syntax", loses=first)
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    put(cell, text(cell).rstrip() + "\n    return x x\n")


@mess("a bracket never closed", "*", message="was never closed", loses=first)
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    put(cell, text(cell).rstrip() + "\n    y = (1\n")


@mess("renamed", message="but my_FIRST is", loses=first)
def _(nb: Notebook, student: Any) -> None:
    rename(nb, student, f"my_{student.first}")


@mess("renamed by a letter", message="but FIRSTs is", loses=first)
def _(nb: Notebook, student: Any) -> None:
    rename(nb, student, f"{student.first}s")


@mess("renamed by a number", message="but FIRST2 is", loses=first)
def _(nb: Notebook, student: Any) -> None:
    rename(nb, student, f"{student.first}2")


def rename(nb: Notebook, student: Any, new: str) -> None:
    cell, name = own(nb, student.first), student.first
    put(cell, text(cell).replace(f"def {name}(", f"def {new}(").replace(f"class {name}(", f"class {new}("))


@mess("inside a class only", message="inside Solution", loses=first)
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    put(cell, "class Solution:\n" + textwrap.indent(text(cell), "    "))


@mess("commented out", message="commented out", loses=first)
def _(nb: Notebook, student: Any) -> None:
    cell = own(nb, student.first)
    put(cell, textwrap.indent(text(cell), "# ", lambda line: True))


@mess("its cell deleted", message="", loses=first)
def _(nb: Notebook, student: Any) -> None:
    nb["cells"].remove(own(nb, student.first))


@pytest.mark.parametrize("name", MESSES)
def test_a_mess_is_read(name: str, student: Any) -> None:
    """The answers that a patient person could read are right, and what is said fits."""
    each, nb = MESSES[name], student.copy()
    each.make(nb, student)
    changed = nb != student.notebook
    program = student.read(nb)
    lost = each.loses(student)
    wrong = {name for name, right in student.right(program).items() if not right}
    assert wrong <= lost
    assert not lost or student.first in wrong
    assert all(program.written.values())
    if not changed:
        return
    if each.repair != "*":
        assert (each.repair in " ".join(program.repairs)) if each.repair else not program.repairs
    assert (each.review in " ".join(program.review)) if each.review else not program.review
    assert each.message.replace("FIRST", student.first) in program.answers[student.first].message
