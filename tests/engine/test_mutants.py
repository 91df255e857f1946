"""Mutants: small changes of an answer, each of them Python, none like another."""

import ast

from autograder.mutants import mutants

SOURCE = '''
def scale(x, W, eps=1e-5, dim=-1):
    """Scales; a docstring is no code."""
    if x.shape[-1] < 1:
        raise ValueError(f"too few: {x.shape[-1] + 1}")
    mean = x.mean(dim=dim, keepdim=True)
    return (x - mean) / (x.detach() + eps) @ W.transpose(-2, -1), mean
'''


def changed(words):
    """The mutants whose change begins with these words."""
    return [mutant.source for mutant in mutants(SOURCE) if mutant.change.startswith(words)]


def test_every_mutant_is_python_and_another():
    """All compile, none reads like another or like the answer."""
    sources = [mutant.source for mutant in mutants(SOURCE)]
    assert len(sources) == len(set(sources)) > 40
    for source in sources:
        compile(source, "<mutant>", "exec")
        assert source != ast.unparse(ast.parse(SOURCE))


def test_kinds_of_changes():
    """Operators, comparisons, constants, arguments, methods, statements, gradients, types, writing into arguments."""
    assert any("x + mean" in source for source in changed("Sub becomes Add"))
    assert any("<= 1" in source for source in changed("Lt becomes LtE"))
    assert any("x.mean(dim=dim)" in source for source in changed("keepdim= dropped"))
    assert any("transpose(-1, -2)" in source for source in changed("two arguments exchanged"))
    assert any("x + eps" in source for source in changed(".detach() dropped"))
    assert any("mean = " not in source for source in changed("statement dropped"))
    assert any("mean.detach()" in source for source in changed("detach() added to what is returned"))
    assert any(".float()" in source for source in changed("float() added"))
    assert any("x.sub_(mean)" in source for source in changed("in place"))
    assert any("x.data.add_(0.5)" in source for source in changed("x is written into"))
    assert any("2e-05" in source for source in changed("1e-05 becomes"))
    assert any("RuntimeError" in source for source in changed("ValueError becomes"))
    assert any("W @" in source or "W.transpose(-2, -1) @" in source for source in changed("sides exchanged"))
    assert any("return (mean, " in source for source in changed("parts of a tuple moved"))


def test_words_are_left_alone():
    """What an error says is no behaviour: nothing inside an f-string is changed."""
    assert all("x.shape[-1] - 1}" not in mutant.source for mutant in mutants(SOURCE))


def test_a_diff_shows_what_was_changed():
    """The lines before and after, and no others."""
    mutant = next(each for each in mutants(SOURCE) if each.change == "keepdim= dropped")
    diff = mutant.diff(SOURCE).splitlines()
    assert diff[1:] == ["-    mean = x.mean(dim=dim, keepdim=True)", "+    mean = x.mean(dim=dim)"]
    assert mutant.line == 6
