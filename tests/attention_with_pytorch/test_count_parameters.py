"""Hidden tests of count_parameters(module)."""

import pytest
import torch

from autograder.checking import OTHER_DTYPES, Mismatch, check_placement, covers, default_dtype, leaves_no_state, unmodified
from autograder.comparing import kind

TRAINABLE = "a parameter whose requires_grad is off does not count"
SHARED = "a parameter that stands at two places is one parameter"


@pytest.fixture
def both(student, reference, inputs):
    """Makes the same built-in module for the student and for the reference, on the device under test."""

    def make(build):
        modules = [build(side.builtin) for side in (student, reference)]  # on the CPU
        return [module.to(inputs.device) for module in modules] if inputs.device.type != "cpu" else modules

    return make


@pytest.fixture
def check(student, reference):
    """Compares the student's count of one module with the reference's count of the other."""

    def compare(ours, model, hint=""):
        counted(student, ours, reference.count_parameters(model), hint)

    return compare


def counted(student, module, wanted, hint=""):
    """The student's count; Mismatch where it is not the number wanted."""
    count = student.count_parameters(module)
    got = count.item() if isinstance(count, torch.Tensor) and count.dim() == 0 else count
    if isinstance(got, bool) or not isinstance(got, int | float):
        raise Mismatch("a whole number", kind(count), hint)
    if got != wanted:
        raise Mismatch("the count of the numbers that can be trained", f"{'more' if got > wanted else 'fewer'}", hint)
    return got


def freeze(modules, *names):
    """Switches requires_grad off, all of a module's parameters if no name is given."""
    for module in modules:
        for name, parameter in module.named_parameters():
            if not names or name in names:
                parameter.requires_grad_(False)
    return modules


def stack(builtin):
    """A module of several parts, one of them within another."""
    inner = builtin("Sequential", builtin("Linear", 3, 2), builtin("LayerNorm", 2))
    return builtin("Sequential", builtin("Embedding", 7, 3), inner, builtin("Linear", 2, 5, bias=False))


@covers(1)
def test_values_counted_by_hand(student):
    """a linear with its bias and one without, counted by hand"""
    counted(student, student.builtin("Linear", 4, 3), 15, "weights and biases")
    counted(student, student.builtin("Linear", 4, 3, bias=False), 12)


@covers(2)
def test_any_module(both, check, inputs):
    """any module: linears, embeddings, norms, attention"""
    d = 2 * inputs.integers(2, 9)
    check(*both(lambda builtin: builtin("Linear", d, d + 1)), "a matrix has as many numbers as rows times columns")
    check(*both(lambda builtin: builtin("Embedding", d + 3, d)))
    check(*both(lambda builtin: builtin("LayerNorm", d)))
    check(*both(lambda builtin: builtin("MultiheadAttention", d, 2)))


@covers(2)
def test_parts_within_parts(both, check):
    """parts within parts are counted as well"""
    check(*both(stack), hint="parts within parts count as well")


@covers(3)
def test_frozen_does_not_count(both, check):
    """what is frozen does not count"""
    modules = freeze(both(stack), "0.weight", "1.0.bias")
    check(*modules, hint=TRAINABLE)
    check(*freeze(modules, "1.1.weight"), hint=TRAINABLE)


@covers(3)
def test_shared_counts_once(both, check):
    """a parameter that stands at several places counts once"""

    def tied(builtin):
        shared = builtin("Linear", 3, 3)
        return builtin("Sequential", shared, builtin("Linear", 3, 3), shared)

    check(*both(tied), hint=SHARED)
    check(*freeze(both(tied), "0.bias"), hint=SHARED)


@covers(3)
def test_equal_values_are_not_shared(both, check):
    """parameters of equal values and shapes are still different parameters"""
    modules = both(lambda builtin: builtin("Sequential", builtin("LayerNorm", 5), builtin("LayerNorm", 5)))
    check(*modules, hint="two parameters with the same values are two")


@covers(4)
def test_nothing_to_count(both, check):
    """a module without trainable parameters has none, and it has its own again once they are thawed"""
    check(*both(lambda builtin: builtin("Sequential")), hint="a sum over nothing is 0")
    modules = freeze(both(stack))
    check(*modules, hint=TRAINABLE)
    for module in modules:
        module.requires_grad_(True)
    check(*modules, hint="do not remember what an earlier call has seen")


@covers(5)
def test_dtype_does_not_matter(both, check):
    """the count is the same in every dtype"""
    modules = both(stack)
    for dtype in OTHER_DTYPES:
        check(*(module.to(dtype) for module in modules))


@covers(5)
def test_count_is_a_whole_number(student):
    """the count is an int"""
    if isinstance(counted(student, student.builtin("Linear", 4, 3), 15), float):
        raise Mismatch("an int", "a float", "numel() is an int, and so is a sum of such")


@covers(7)
def test_module_stays_as_it_is(student):
    """counting changes nothing in the module"""
    module = student.builtin("Sequential", student.builtin("Linear", 3, 4), student.builtin("Linear", 4, 2)).eval()
    module.requires_grad_(False)
    next(iter(module.parameters())).requires_grad_(True)
    with unmodified(*module.parameters()):
        counted(student, module, 12, TRAINABLE)
    if module.training:
        raise Mismatch("a module in the mode it was in", "one in another mode", "counting needs no other mode")


@covers(9)
def test_module_on_any_device(student, both, check):
    """a module on any device is counted"""
    ours, model = both(stack)
    check(ours, model)
    check_placement(student.count_parameters, 0, (ours,), {})


@covers(12)
def test_calls_leave_no_trace(both, check):
    """an earlier call, the default dtype and the grad mode change nothing"""
    modules = both(stack)
    check(*both(lambda builtin: builtin("Linear", 3, 4)))
    check(*modules)
    with leaves_no_state(), default_dtype(torch.float64), torch.no_grad():
        check(*modules)
