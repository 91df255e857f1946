"""What suites assert, what a student reads when it fails, and what random inputs are."""

import math
from dataclasses import dataclass

import pytest
import torch

from autograder.checking import (
    DTYPES,
    OTHER_DTYPES,
    Mismatch,
    agree,
    agree_gradients,
    agree_types,
    check_gradients,
    close,
    default_dtype,
    keeps_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    raises,
    unmodified,
    zeros,
)
from autograder.inputs import Inputs, derive_seed
from autograder.nested import copies, twin


@pytest.fixture
def inputs():
    return Inputs(b"inputs-of-tests")


def model(x, dim=-1):
    return torch.softmax(x, dim=dim)


def both(x):
    return x.exp(), [x.sin(), x.cos()]


@dataclass(frozen=True)
class Foreign:
    """As `autograder.student.Foreign`: a thing that crossed the border by its type's name only."""

    kind: str


def test_a_mismatch_reads_wanted_got_hint():
    """Wanted, got, a blank line, and the hint if there is one."""
    assert str(Mismatch("shape (2, 3)", "(3, 2)", "transpose")) == "wanted shape (2, 3)\ngot (3, 2)\n\nhint: transpose"
    assert str(Mismatch("a", "b")) == "wanted a\ngot b"


@pytest.mark.parametrize(
    ("student", "wanted", "got"),
    [
        (lambda x: None, "output to be a tuple of 2", "None"),
        (lambda x: x, "tuple of 2: output, weights", "a tensor of shape (2, 3)"),
        (lambda x: (x, x, x), "tuple of 2", "a tuple of 3"),
        (lambda x: (x.exp(), torch.stack(both(x)[1])), "weights to be a list of 2", "a tensor of shape (2, 2, 3)"),
        (lambda x: (Foreign("ndarray"), both(x)[1]), "output to be a tensor", "an object of type ndarray"),
        (lambda x: (x.exp() + 0j, both(x)[1]), "output to be a tensor", "a complex tensor"),
        (lambda x: (x.exp().T, both(x)[1]), "output of shape (2, 3)", "(3, 2)"),
        (lambda x: (x.exp(), [x.sin(), x.cos()[0]]), "weights[1] of shape (2, 3)", "(3,)"),
        (lambda x: (x.exp() * math.nan, both(x)[1]), "output without NaN", "NaN in all entries"),
        (lambda x: (x.exp() / 0, both(x)[1]), "output finite where it should be", "all entries not so"),
        (lambda x: (x.exp() * 1.01, both(x)[1]), "output right up to rounding", "all entries off, far"),
    ],
)
def test_agree_says_what_is_wrong(student, wanted, got, inputs):
    """Structure first, then shape, then values; names of parts where they have names."""
    with pytest.raises(Mismatch) as caught:
        agree(student, both, inputs.randn(2, 3), what=("output", "weights"), hint="look")
    assert wanted.removeprefix("output to be a ") in caught.value.wanted
    assert got in caught.value.got
    assert caught.value.hint == "look"


@pytest.mark.parametrize("student", [lambda x: x, lambda x: x.exp() + 1, lambda x: x[:1], lambda x: x.detach()])
@pytest.mark.parametrize("check", [agree, agree_gradients])
def test_no_message_holds_a_number_of_the_test(student, check, inputs):
    """Neither inputs nor wanted results can be read from a message."""
    x = inputs.randn(2, 3)
    wanted = x.exp() * x.sin()
    with pytest.raises(Mismatch) as caught:
        check(student, lambda x: x.exp() * x.sin(), x)
    numbers = [abs(number) for tensor in (x, wanted) for number in tensor.flatten().tolist()]
    assert not [number for number in numbers if f"{number:.3f}"[:4] in str(caught.value)]


def test_tuples_and_lists_numbers_and_scalars_are_alike(inputs):
    """A list may be a tuple, a number a tensor without dimensions, either way round."""
    x = inputs.randn(3)
    agree(lambda x: (x, (x,)), lambda x: [x, [x]], x)
    agree(lambda x: x.sum(), lambda x: x.sum().item(), x)
    agree(lambda x: {"a": x.sum().item(), "b": 3}, lambda x: {"a": x.double().sum().item(), "b": 3}, x)
    with pytest.raises(Mismatch, match="a number"):
        agree(lambda x: "3", lambda x: 3, x)
    with pytest.raises(Mismatch, match="keys"):
        agree(lambda x: {"a": x}, lambda x: {"b": x}, x)


def test_agree_judges_values_not_types(inputs):
    """A float32 result for float64 input has right values; its type is another check's matter."""
    x = inputs.randn(3, 4, dtype=torch.float64)
    agree(lambda x: model(x.float()), model, x)
    agree(lambda x: model(x).to(torch.bfloat16), model, x)
    with pytest.raises(Mismatch, match=r"dtype float64\ngot float32"):
        agree_types(lambda x: model(x.float()), model, x)
    with pytest.raises(Mismatch, match="its dtype is float32, where float64 is wanted"):
        agree(lambda x: model(x.float()) * 1.01, model, x)
    with pytest.raises(Mismatch, match="right up to rounding"):
        agree(lambda x: model(x.float()).double(), model, x)


def test_agree_types_sees_the_device(inputs):
    """A result that is elsewhere than the wanted one is named with both devices."""
    with pytest.raises(Mismatch, match=r"device cpu\ngot meta"):
        agree_types(lambda x: x.to("meta"), lambda x: x, inputs.randn(3))


def test_a_mask_of_numbers_has_right_values():
    """Zeros and ones in place of truth values are a matter of the type only."""
    mask = torch.ones(3, 3, dtype=torch.bool).triu(1)
    agree(lambda n: mask.float(), lambda n: mask, 3)
    with pytest.raises(Mismatch, match="right entries"):
        agree(lambda n: mask.float() * 2, lambda n: mask, 3)
    with pytest.raises(Mismatch, match="dtype bool"):
        agree_types(lambda n: mask.float(), lambda n: mask, 3)


def test_every_call_has_its_own_copies(inputs):
    """What a student writes into an argument reaches neither the reference nor the test."""
    x = inputs.randn(3)
    before = x.clone()
    agree(lambda x: x.mul_(2), lambda x: 2 * x, x)
    assert torch.equal(x, before)


def test_accuracy_accepts_a_coarser_step(inputs):
    """Where the lesson accepts float32's accuracy, a float64 result may have it."""
    x = inputs.randn(3, 4, dtype=torch.float64)
    agree(lambda x: model(x.float()).double(), model, x, accuracy=torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_right_gradients_pass_in_every_dtype(dtype, inputs):
    """A custom order of operations has the same gradient up to rounding."""
    x = inputs.randn(3, 4, dtype=dtype)
    agree_gradients(lambda x: x.exp() / x.exp().sum(-1, keepdim=True), model, x)


def test_wrong_gradients_are_caught(inputs):
    """Cut off, half cut off, and wrong by a constant divisor."""
    x = inputs.randn(3, 4)
    with pytest.raises(Mismatch, match="cut off"):
        agree_gradients(lambda x: model(x).detach(), model, x)
    with pytest.raises(Mismatch, match=r"result\[1\].* through which gradients flow"):
        agree_gradients(lambda x: (x.exp(), [x.sin(), x.cos().detach()]), both, x, what="result")
    with pytest.raises(Mismatch, match="the gradient of argument 1"):
        agree_gradients(lambda x: x.exp() / x.exp().sum(-1, keepdim=True).detach(), model, x)
    with pytest.raises(Mismatch, match=r"the gradient of argument 2\[0\]"):
        agree_gradients(lambda x, ys: x + ys[0].detach(), lambda x, ys: x + ys[0], x, [x])


def test_gradients_come_back_in_order(inputs):
    """One for each floating argument, nested ones too, as the student computed them."""
    x, y = inputs.randn(3), inputs.randn(3)
    found = agree_gradients(lambda x, ys, k: x * ys[0] * k, lambda x, ys, k: x * ys[0] * k, x, [y], 2)
    assert len(found) == 2
    close(found[0] / y, found[1] / x)


def test_gradcheck_is_wrapped(inputs):
    """Right slopes pass; wrong ones, and results that cannot have one, are told without numbers."""
    x = inputs.randn(2, 3)
    check_gradients(model, x)
    check_gradients(lambda x, ys: (x @ ys[0], [ys[0].exp()]), x, [inputs.randn(3, 2)])
    with pytest.raises(Mismatch, match="slope"):
        check_gradients(lambda x: x.exp() / x.exp().sum(-1, keepdim=True).detach(), x)
    with pytest.raises(Mismatch, match="cut off"):
        check_gradients(lambda x: model(x).detach(), x)
    with pytest.raises(Mismatch, match="float32"):
        check_gradients(lambda x: model(x.float()), x)


@pytest.mark.parametrize("seed", range(20))
def test_gradcheck_sees_one_wrong_gradient_among_many(seed):
    """A small argument among large ones, and one result among two: whichever has the wrong slope is seen, in three calls."""
    inputs, calls = Inputs(seed.to_bytes(8, "little")), []
    arguments = [inputs.randn(4, 6), inputs.randn(6), [inputs.randn(6, 3), inputs.randn(1)], 0.01 * inputs.randn(1)]

    def function(x, gain, weights, shift, cut=None):
        calls.append(cut)
        parts = [x, gain, *weights, shift]
        x, gain, matrix, scale, shift = (part.detach() if i == cut else part for i, part in enumerate(parts))
        return (x * gain) @ matrix * scale + shift, (x * gain).tanh()

    check_gradients(function, *arguments)
    assert len(calls) == 3
    for cut in range(5):
        with pytest.raises(Mismatch, match="slope"):
            check_gradients(function, *arguments, cut=cut)
    for wrong in (lambda part, x: part * x.exp().detach(), lambda part, x: part.detach()):
        for number in (0, 1):

            def one_of_two(*args, wrong=wrong, number=number):
                results = list(function(*args))
                results[number] = wrong(results[number], args[0].mean())
                return results

            with pytest.raises(Mismatch, match="slope"):
                check_gradients(one_of_two, *arguments)


def test_a_dtype_is_kept_or_named(inputs):
    """Each type but float32, with structure and shape; what is no floating tensor keeps its own type."""
    x, mask, seen = inputs.randn(2, 3), inputs.mask(2, 3), []

    def right(x, mask):
        seen.append(x.dtype)
        return x.masked_fill(mask, 0.0), mask

    keeps_dtype(right, lambda x, mask: (x, mask), x, mask=mask)
    assert seen == list(OTHER_DTYPES)
    with pytest.raises(Mismatch, match=r"wanted output of dtype float16\ngot float32"):
        keeps_dtype(lambda x: x + torch.zeros(3), lambda x: x, x, what="output")
    with pytest.raises(Mismatch, match=r"wanted result of dtype float64\ngot float32"):
        keeps_dtype(lambda x: x.float() if x.dtype == torch.float64 else x, lambda x: x, x)
    with pytest.raises(Mismatch, match="of shape"):
        keeps_dtype(lambda x: x.sum(), lambda x: x, x)


def test_a_coarser_accuracy_takes_no_further_run_of_the_reference(inputs):
    """What is next to the reference's own result is right by any measure; what is not is judged by the coarser one."""
    x, calls = inputs.randn(2, 3, dtype=torch.float64), []

    def reference(x):
        calls.append(x.dtype)
        return model(x)

    agree(model, reference, x, accuracy=torch.float32)
    assert calls == [torch.float64]
    agree(lambda x: model(x.float()), reference, x, accuracy=torch.float32)
    assert len(calls) > 2
    with pytest.raises(Mismatch, match="right up to rounding"):
        agree(lambda x: model(x) + 1e-4, reference, x, accuracy=torch.float32)


def test_close_is_for_values_worked_by_hand():
    """A few units in the last place; shape and NaN matter, the type does not; `exact` allows nothing."""
    close(torch.tensor([0.1, 0.2]) * 3, [0.3, 0.6])
    close(torch.tensor([True, False]), [1, 0])
    close(torch.tensor([1.0]) / 3, torch.tensor([1.0], dtype=torch.float64) / 3)
    for wrong in (torch.tensor([0.3, 0.6001]), torch.tensor([[0.3, 0.6]]), torch.tensor([0.3, math.nan]), None, [0.3]):
        with pytest.raises(Mismatch):
            close(wrong, [0.3, 0.6])
    third = torch.tensor([1.0]) / 3
    close(third, third.clone(), exact=True)
    with pytest.raises(Mismatch):
        close(torch.nextafter(third, torch.ones(1)), third, exact=True)


def test_zeros_are_exact():
    """The smallest number that is not zero is not zero."""
    zeros(torch.tensor([0.0, -0.0]))
    for wrong in (torch.tensor([0.0, 1e-45]), torch.tensor([math.nan, 0.0])):
        with pytest.raises(Mismatch, match="some entries"):
            zeros(wrong)


def test_raises_wants_the_type():
    """No error and another error are both told, without the error's text."""

    def fail(error):
        raise error("secret 3.14")

    raises(ValueError, fail, ValueError)
    with pytest.raises(Mismatch, match=r"wanted ValueError\ngot TypeError") as caught:
        raises(ValueError, fail, TypeError)
    assert "secret" not in str(caught.value)
    with pytest.raises(Mismatch, match="got a result"):
        raises(ValueError, lambda: 3)


@pytest.mark.parametrize(
    ("change", "aspect"),
    [
        (lambda x, xs: x.add_(1), "values"),
        (lambda x, xs: xs[0].mul_(2), "values"),
        (lambda x, xs: x.t_(), "strides"),
        (lambda x, xs: x.requires_grad_(), "requires_grad"),
        (lambda x, xs: setattr(x, "grad", torch.ones(3, 3)), ".grad"),
        (lambda x, xs: xs.append(x), "lists and dicts"),
        (lambda x, xs: xs.clear(), "lists and dicts"),
    ],
)
def test_unmodified_sees_every_change(change, aspect, inputs):
    """Values, strides, flags, gradients and containers."""
    x, xs = inputs.randn(3, 3), [inputs.randn(2)]
    with unmodified(x, xs):
        model(x)
    with pytest.raises(Mismatch, match=aspect), unmodified(x, xs):
        change(x, xs)


def test_unmodified_bears_nan_and_lets_errors_through():
    """NaN equals itself here; an error of the student is not covered up."""
    with unmodified(torch.tensor([math.nan, -math.inf]), 3, None):
        pass
    with pytest.raises(KeyError), unmodified(torch.ones(2)):
        raise KeyError


@pytest.mark.parametrize(
    ("change", "aspect"),
    [
        (lambda: torch.set_default_dtype(torch.float64), "default dtype"),
        (lambda: torch.set_grad_enabled(False), "gradient mode"),
        (lambda: torch.rand(1), "random state"),
        (lambda: torch.manual_seed(1), "random state"),
    ],
)
def test_leaves_no_state_sees_it_and_puts_it_back(change, aspect):
    """Default dtype, gradient mode and random state, each named, none left to the next test."""
    state = torch.get_rng_state()
    with pytest.raises(Mismatch, match=aspect), leaves_no_state():
        change()
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_default_dtype_is_put_back_after_an_error():
    """The next test must not feel it."""

    def fail():
        with default_dtype(torch.float64):
            assert torch.ones(1).dtype == torch.float64
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.ones(1).dtype == torch.float32


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 1, 3, 4)])
def test_noncontiguous_tensors_refuse_views(shape, inputs):
    """Equal numbers that no view can flatten."""
    x = inputs.randn(*shape, requires_grad=True)
    strided = noncontiguous(x)
    assert torch.equal(strided, x)
    assert strided.is_leaf
    assert strided.requires_grad
    assert not strided.is_contiguous()
    if len(shape) > 1:
        with pytest.raises(RuntimeError, match="view"):
            strided.view(-1)


def test_copies_keep_strides_and_flags(inputs):
    """Sliced, turned and expanded tensors stay so; memory is not shared."""
    base = inputs.randn(4, 6)
    for x in (base[:, ::2], base.T, base[:1].expand(4, 6), base, base.long(), base[0, 0]):
        copy = twin(x)
        assert copy.stride() == x.stride()
        assert torch.equal(copy, x)
        assert copy.data_ptr() != x.data_ptr()
    nest = copies({"a": [base.requires_grad_(), 3], "b": (None,)})
    assert nest["a"][0].requires_grad
    assert nest["a"][0].is_leaf
    assert nest["b"] == (None,)
    assert on_copies(lambda x, n: x.data_ptr() == base.data_ptr(), base, n=1) is False


def test_seeds_differ_by_everything_that_goes_in():
    """Secret, student, lesson and test each change the seed, and their borders matter."""
    parts = [(b"s", "ann", "l", "t"), (b"z", "ann", "l", "t"), (b"s", "bob", "l", "t"), (b"s", "ann", "m", "t")]
    parts += [(b"s", "ann", "l", "u"), (b"s", "annl", "", "t"), (b"s", "an", "nl", "t")]
    seeds = {derive_seed(*each) for each in parts}
    assert len(seeds) == len(parts)
    assert derive_seed(b"s", "ann", "l", "t") == derive_seed(b"s", "ann", "l", "t")
    assert all(len(seed) == 32 for seed in seeds)


def test_inputs_are_the_same_again_and_leave_the_global_generator_alone():
    """The same seed draws the same numbers; other seeds draw others."""
    state = torch.get_rng_state()
    first, again, other = (Inputs(seed).randn(5) for seed in (b"seed-one", b"seed-one", b"seed-two"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_inputs_do_not_depend_on_the_default_dtype():
    """A test that changes the default dtype draws what it would have drawn."""
    plain = Inputs(b"seed-one")
    with default_dtype(torch.float64):
        changed = Inputs(b"seed-one")
        assert torch.equal(plain.randn(3), changed.randn(3))
        assert torch.equal(plain.mask(3, 4), changed.mask(3, 4))


def test_inputs_have_the_types_and_ranges_asked_for(inputs):
    """float32 unless something else is asked for; a coarser type holds the same numbers, rounded."""
    assert inputs.randn(2, 3).dtype == torch.float32
    assert inputs.randn(2, dtype=torch.bfloat16, requires_grad=True).requires_grad
    assert torch.equal(Inputs(b"seed-one").randn(4).half(), Inputs(b"seed-one").randn(4, dtype=torch.float16))
    drawn = inputs.rand(100, low=2, high=3)
    assert 2 <= drawn.min() <= drawn.max() <= 3
    assert inputs.randn(500, scale=100).abs().max() > 100
    assert set(inputs.randint(2, 5, (50,)).tolist()) == {2, 3, 4}
    assert {inputs.integers(0, 2) for _ in range(30)} == {0, 1}


def test_masks_block_something_in_each_row_and_never_all(inputs):
    """So no test meets a blocked row by luck, and none is without a mask by luck."""
    for shape, p in (((50, 5), 0.3), ((50, 2), 0.9), ((2, 50, 3), 0.01), ((50, 5), 1.0)):
        mask = inputs.mask(*shape, p=p)
        assert mask.dtype == torch.bool
        assert mask.any(-1).all()
        assert not mask.all(-1).any()
    assert not inputs.mask(3, 1).any()


def test_permutations_move_something(inputs):
    """An order that changes nothing would test nothing."""
    for _ in range(20):
        order = inputs.permutation(2)
        assert order.tolist() == [1, 0]
    assert sorted(inputs.permutation(6).tolist()) == list(range(6))


def test_what_was_drawn_can_be_replayed(inputs):
    """Every draw is kept in order, with a description, as it was before a test changed it."""
    x = inputs.randn(2, 3, scale=2)
    kept = x.clone()
    x.zero_()
    inputs.integers(0, 9)
    inputs.mask(4, 4)
    names = [name for name, _ in inputs.made]
    assert names[0] == "randn(2, 3) scale 2"
    assert torch.equal(inputs.made[0][1], kept)
    assert len(names) == 3
