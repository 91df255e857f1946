"""Hidden suite of `sinusoidal_positional_encoding`.

Angles may be computed in float32, so the allowance is what the formula itself loses there: `in_float32` computes it
in that type, up to the last position that the call asks for, and `truth` in float64. Frequencies come from exp and
log, the usual way that loses most, and are moved by one rounding, as another order of operations may do.
"""

import math

import pytest
import torch

from autograder.checking import Mismatch, agree, check_placement, close, covers, default_dtype, leaves_no_state


def encoding(positions, d_model, dtype):
    """The formula in one type: positions (n,) -> (n, d_model)."""
    even = torch.arange(0, d_model, 2, device=positions.device).to(dtype)
    frequency = torch.exp(even * (-math.log(10000.0) / d_model)) * (1 + torch.finfo(dtype).eps)
    angle = positions.to(dtype).unsqueeze(-1) * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[:, :d_model]


def agrees(student, max_len, d_model, hint="", **kwargs):
    """`agree` with the formula; returns the student's table."""

    def formula(dtype):
        def table(max_len, d_model, device=None):
            return encoding(torch.arange(max_len, device=device), d_model, dtype)

        return table

    in_float32, truth = formula(torch.float32), formula(torch.float64)
    kwargs.update(what="the table", hint=hint, truth=truth, accuracy=torch.float32)
    return agree(student.sinusoidal_positional_encoding, in_float32, max_len, d_model, **kwargs)


@covers(1)
def test_first_rows_by_hand(student):
    """the first rows for d_model = 4 have the values of the worked example"""
    wanted = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
        [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)],
    ]
    close(student.sinusoidal_positional_encoding(3, 4), wanted, "the table")


@covers(1)
def test_even_columns_hold_sines(student):
    """even columns hold sines and odd columns cosines"""
    table, hint = (
        student.sinusoidal_positional_encoding(2, 6),
        "column 2i is the sine of pair i, column 2i + 1 its cosine",
    )
    close(table, [[0.0, 1.0] * 3, _second_row(6)], "the table", hint)


@covers(1)
def test_positions_start_at_zero(student):
    """row 0 belongs to position 0: all its sines are 0 and its cosines 1"""
    rows = student.sinusoidal_positional_encoding(2, 2)
    close(rows, [[0.0, 1.0], [math.sin(1), math.cos(1)]], "the table", "count positions from 0")


@covers(2)
@pytest.mark.parametrize(("max_len", "d_model"), [(1, 2), (7, 6), (12, 16), (40, 10)])
def test_agrees_with_the_formula(student, max_len, d_model):
    """agrees with the formula for an even d_model"""
    agrees(student, max_len, d_model)


@covers(2)
def test_agrees_for_random_sizes(student, inputs):
    """agrees with the formula for other sizes in each submission"""
    for _ in range(3):
        agrees(student, inputs.integers(2, 60), inputs.integers(1, 20))


@covers(2)
@pytest.mark.parametrize(("max_len", "d_model"), [(4, 3), (9, 7), (6, 15)])
def test_an_odd_d_model_ends_with_a_sine(student, max_len, d_model):
    """an odd d_model ends with a sine that has no cosine beside it"""
    agrees(student, max_len, d_model, hint="there is one sine more than there are cosines")


@covers(2)
def test_one_column(student):
    """d_model = 1 is one column of sines"""
    agrees(student, 11, 1)


@covers(3)
def test_each_pair_lies_on_the_unit_circle(student):
    """the sine and the cosine of a pair share one angle, so they lie on the unit circle"""
    table = agrees(student, 20, 12, hint="both columns of a pair have the exponent 2i / d_model")
    close(table.double().unflatten(-1, (6, 2)).square().sum(-1), torch.ones(20, 6), "the squared length of each pair")


@covers(3)
def test_dot_products_depend_on_the_distance(student):
    """the dot product of two rows is the sum of cosines of their distance"""
    table = agrees(student, 16, 8).double()
    distance = torch.arange(16).unsqueeze(-1) - torch.arange(16)
    frequency = 10000 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    cosines = (distance.unsqueeze(-1) * frequency).cos()
    close((table @ table.mT).float(), cosines.sum(-1).float(), "the dot products of all rows")


@covers(3)
def test_a_row_does_not_depend_on_max_len(student):
    """a longer table begins with the shorter one"""
    short = agrees(student, 5, 6, hint="only pos and the column decide an entry")
    long = agrees(student, 30, 6, hint="only pos and the column decide an entry")
    close(long[:5], short, "the first rows of a longer table")


@covers(4)
def test_far_positions(student):
    """positions up to 512 are as accurate as the formula is in float32"""
    agrees(student, 513, 12, hint="angles in a half type have no digits left at such positions")


@covers(4)
def test_slowest_pairs(student):
    """in a wide encoding the frequencies go down to almost 1 / 10000"""
    table = agrees(student, 3, 256, hint="the exponent of the last pair is (d_model - 2) / d_model")
    slowest = 10000 ** (-torch.arange(240, 256, 2, dtype=torch.float64) / 256)
    close(table[1, -16::2].double() * 1e4, (slowest.sin() * 1e4).float(), "the slowest sines")


@covers(5)
def test_result_is_float32(student):
    """the result is float32"""
    for d_model in (4, 5):
        _must_be_float32(student.sinusoidal_positional_encoding(3, d_model))


@covers(9)
def test_device_is_obeyed(student, device):
    """the table lies on the device that was asked for, and without one on the default device"""
    table = agrees(student, 6, 5, device=device)
    _must_be_on(table, torch.empty(0, device=device).device)
    check_placement(student.sinusoidal_positional_encoding, table, (6, 5), {"device": "cuda"}, "the table")
    _must_be_on(agrees(student, 6, 5), torch.get_default_device())


@covers(12)
def test_does_not_depend_on_the_default_dtype(student):
    """the result does not depend on torch's default dtype"""
    with default_dtype(torch.float64):
        _must_be_float32(agrees(student, 9, 6))


@covers(12)
def test_earlier_calls_leave_no_trace(student):
    """earlier calls do not matter, and torch's settings are left as they were"""
    with leaves_no_state():
        for max_len, d_model in ((4, 6), (9, 6), (4, 8), (4, 6)):
            agrees(student, max_len, d_model, hint="a table that is kept from an earlier call has other sizes")
    with torch.no_grad():
        agrees(student, 4, 6)


def _second_row(d_model):
    """Row 1 by hand, with Python's own sine and cosine."""
    angles = [1 / 10000 ** (2 * i / d_model) for i in range(d_model // 2)]
    return [value for angle in angles for value in (math.sin(angle), math.cos(angle))]


def _must_be_float32(table):
    if table.dtype != torch.float32:
        got = str(table.dtype).removeprefix("torch.")
        raise Mismatch("a table of dtype float32", got, "name the dtype of the table")


def _must_be_on(table, device):
    if table.device.type != device.type:
        raise Mismatch(f"a table on {device.type}", f"one on {table.device.type}", "hand device on to every new tensor")
