"""Runs the notebooks of this repository from the top and says what their visible checks say; part of your repository.

    python .github/visible_checks.py [NOTEBOOK...]

A check that fails or a cell that stops with an error makes the run red; an exercise that is still open does not.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CELL_S = 600  # seconds a cell may take
CHECK = re.compile(r"^([✔✘○·]) (\w+): (.*)")


def notebooks():
    found = [Path(name) for name in sys.argv[1:]] or sorted(Path().rglob("*.ipynb"))
    return [path for path in found if not any(part.startswith(".") for part in path.parts)]


def said(path):
    """(exercise -> (mark, message), cells that stopped) of one notebook."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_S, allow_errors=True, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    checks, stopped = {}, []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                stopped.append(f"cell {number} stops: {output.ename}: {output.evalue[:200]}")
            elif output.output_type == "stream":
                found = filter(None, map(CHECK.match, output.text.splitlines()))
                checks.update({match[2]: (match[1], match[3]) for match in found})
    return checks, stopped


def main():
    lines, red = [], False
    for path in notebooks():
        checks, stopped = said(path)
        red = red or bool(stopped) or any(mark == "✘" for mark, _ in checks.values())
        lines += [f"{path}", *(f"    {mark} {name}: {message}" for name, (mark, message) in checks.items())]
        lines += [f"    ✘ {what}" for what in stopped] + [""]
    text = "\n".join(lines) or "there is no notebook in this repository"
    print(text)
    if "GITHUB_STEP_SUMMARY" in os.environ:
        with open(os.environ["GITHUB_STEP_SUMMARY"], "a", encoding="utf-8") as summary:
            summary.write("\n".join(f"    {line}" for line in text.splitlines()) + "\n")
    sys.exit(1 if red else 0)


main()
