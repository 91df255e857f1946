"""Hidden suite of `relative_shift`.

A matrix is judged by what it does, M @ PE[pos] against PE[pos + k], at positions up to 512. The encoding is computed
in float64, so all that is lost is lost in the matrix, for which float32 is allowed: `in_float32` has its frequencies
from exp and log in that type, the usual way that loses most, and moved by one rounding, as another order of operations
may do.
"""

import math

import pytest
import torch

from autograder.checking import Mismatch, agree, covers, default_dtype, leaves_no_state

FAR = torch.tensor([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 512])


def frequencies(d_model, dtype):
    """Angle of one step for each pair, in one type: (d_model / 2,)."""
    rounding = 1 + torch.finfo(dtype).eps
    return torch.exp(torch.arange(0, d_model, 2).to(dtype) * (-math.log(10000.0) / d_model)) * rounding


def encoding(positions, d_model):
    """The formula in float64: positions (n,) -> (n, d_model)."""
    angle = positions.unsqueeze(-1) * frequencies(d_model, torch.float64)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)


def shifts(student, k, d_model, hint=""):
    """Mismatch unless the student's matrix takes PE[pos] to PE[pos + k]; returns the matrix."""
    moves(lambda: _square(student.relative_shift(k, d_model), d_model), k, d_model, hint)
    return student.relative_shift(k, d_model)


def moves(make_matrix, k, d_model, hint=""):
    """Mismatch unless the matrix that `make_matrix()` gives takes PE[pos] to PE[pos + k], wherever pos + k >= 0."""
    start = FAR + max(0, -k)

    def by_the_student():
        return encoding(start, d_model) @ make_matrix().double().mT

    def in_float32():
        angle = frequencies(d_model, torch.float32) * k
        cos, sin = angle.cos().double(), angle.sin().double()
        s, c = encoding(start, d_model).unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack((cos * s + sin * c, cos * c - sin * s), dim=-1).flatten(-2)

    def truth():
        return encoding(start + k, d_model)

    agree(by_the_student, in_float32, what="M @ PE[pos]", hint=hint, truth=truth, accuracy=torch.float32)


@covers(1)
def test_worked_example(student):
    """d_model = 2 and k = 1 give the rotation of the worked example"""
    wanted = torch.tensor([[math.cos(1), math.sin(1)], [-math.sin(1), math.cos(1)]], dtype=torch.float64)
    got = _square(student.relative_shift(1, 2), 2).double()
    agree(lambda: got, lambda: wanted, what="M", accuracy=torch.float32)


@covers(2)
@pytest.mark.parametrize(("k", "d_model"), [(1, 4), (3, 8), (7, 12), (40, 16), (2, 64)])
def test_moves_every_position_ahead(student, k, d_model):
    """M @ PE[pos] is PE[pos + k] for every pos"""
    shifts(student, k, d_model)


@covers(2)
@pytest.mark.parametrize(("k", "d_model"), [(-1, 2), (-3, 8), (-25, 10)])
def test_a_negative_k_goes_back(student, k, d_model):
    """a negative k goes back"""
    shifts(student, k, d_model, hint="keep the sign of k in the angle")


@covers(2)
def test_random_steps(student, inputs):
    """other steps and sizes in each submission"""
    for _ in range(3):
        shifts(student, inputs.integers(-60, 61), 2 * inputs.integers(1, 12))


@covers(3)
def test_direction(student):
    """a positive k goes forwards, a negative one backwards"""
    hint = "backwards and forwards differ by the sign of the two sines in each block"
    for k in (4, -4):
        shifts(student, k, 6, hint)


@covers(3)
def test_each_pair_turns_at_its_own_speed(student):
    """each pair turns by its own angle"""
    shifts(student, 6, 20, hint="the angle of pair i is k divided by 10000 to the power 2i / d_model")


@covers(3)
def test_pairs_stand_side_by_side(student):
    """the block of pair i stands in rows and columns 2i and 2i + 1"""
    for k in (2, -9):
        shifts(student, k, 10, hint="sine and cosine of a pair are neighbours in the encoding")


@covers(3)
def test_two_steps_are_one(student):
    """a step of a after a step of b is a step of a + b"""
    for a, b in ((2, 5), (9, -4)):
        moves(lambda a=a, b=b: _step(student, a) @ _step(student, b), a + b, 6)


@covers(4)
def test_no_step(student):
    """k = 0 stays where it is, and only k = 0 does"""
    shifts(student, 0, 6)
    shifts(student, 1, 6)


@covers(4)
def test_a_long_way(student):
    """a step of several hundred positions is accurate to float32, there and back"""
    shifts(student, 300, 8)
    shifts(student, -300, 8)


@covers(5)
def test_result_is_float32_or_float64(student):
    """the matrix is float32 or float64"""
    matrix = shifts(student, 5, 6)
    if matrix.dtype not in (torch.float32, torch.float64):
        raise Mismatch("float32 or float64", str(matrix.dtype).removeprefix("torch."), "name the dtype of the matrix")


@covers(12)
def test_does_not_depend_on_the_default_dtype(student):
    """the matrix does not depend on torch's default dtype"""
    with default_dtype(torch.float64):
        matrix = shifts(student, 5, 6)
    if matrix.dtype not in (torch.float32, torch.float64):
        raise Mismatch("float32 or float64", str(matrix.dtype).removeprefix("torch."), "name the dtype of the matrix")


@covers(12)
def test_leaves_no_state(student):
    """torch's settings are left as they were, and earlier calls do not matter"""
    with leaves_no_state():
        for k, d_model in ((1, 4), (2, 4), (1, 6), (1, 4)):
            shifts(student, k, d_model)
    with torch.no_grad():
        shifts(student, 3, 4)


def _square(matrix, d_model):
    """The matrix, or a Mismatch that speaks of the matrix and not of what it was multiplied with."""
    if not isinstance(matrix, torch.Tensor) or matrix.shape != (d_model, d_model) or matrix.is_complex():
        got = f"shape {tuple(matrix.shape)}" if isinstance(matrix, torch.Tensor) else "something else"
        raise Mismatch(f"a real matrix of shape ({d_model}, {d_model})", got)
    return matrix.detach().cpu()


def _step(student, k):
    return _square(student.relative_shift(k, 6), 6).double()
