"""Hidden tests of copy_builtin_weights(mha, builtin)."""

import pytest
import torch

from autograder.checking import (
    DTYPES,
    Mismatch,
    agree,
    check_placement,
    covers,
    default_dtype,
    leaves_no_state,
    noncontiguous,
    unmodified,
)

ORDER = "the rows of in_proj_weight are W_Q's, W_K's and W_V's, in this order and not transposed"
APART = "copy values into the parameters that are there; an assignment makes both modules share one tensor"
FLAGS = "requires_grad belongs to a parameter, not to its values"
NAMES = ("W_Q", "W_K", "W_V", "W_O")


@pytest.fixture
def make(student, inputs):
    """Makes the student's module and a built-in one for a call, with random weights; returns the weights too."""

    def of(d_model=4, n_heads=2, dtype=torch.float32, builtin_dtype=None):
        stacked = inputs.randn(3 * d_model, d_model, dtype=builtin_dtype or dtype, scale=d_model**-0.5)
        last = inputs.randn(d_model, d_model, dtype=builtin_dtype or dtype, scale=d_model**-0.5)
        mha = student.MultiHeadAttention(d_model, n_heads)
        builtin = student.builtin("MultiheadAttention", d_model, n_heads, bias=False, batch_first=True)
        for module, wanted in ((mha, dtype), (builtin, stacked.dtype)):
            if any((each.dtype, each.device) != (wanted, stacked.device) for each in module.parameters()):
                module.to(device=stacked.device, dtype=wanted)
        state = builtin.state_dict()
        state["in_proj_weight"].copy_(stacked)
        state["out_proj.weight"].copy_(last)
        return mha, builtin, [*stacked.chunk(3), last]

    return of


def holds(state, wanted, hint):
    """Mismatch where a state dict does not hold these values, to the last bit."""
    for name, values in wanted.items():
        if name not in state or state[name].shape != values.shape:
            raise Mismatch(f"{name} of shape {tuple(values.shape)} in the state dict", "none such", hint)
        if bool((state[name].to(values) != values).any()):
            raise Mismatch(f"{name} with the values it should have", "others", hint)


def copied(mha, wanted, hint=ORDER):
    """Mismatch where a weight of `mha` is not what it should hold."""
    holds(mha.state_dict(), {f"{name}.weight": weight for name, weight in zip(NAMES, wanted, strict=True)}, hint)


@covers(1)
def test_values_worked_by_hand(student, device):
    """each row of in_proj_weight goes to its place, worked by hand"""
    mha = student.MultiHeadAttention(2, 1).to(device)
    builtin = student.builtin("MultiheadAttention", 2, 1, bias=False, batch_first=True).to(device)
    stacked = torch.arange(12.0, device=device).reshape(6, 2)
    builtin.load_state_dict({"in_proj_weight": stacked, "out_proj.weight": stacked[:2] + 20})
    student.copy_builtin_weights(mha, builtin)
    places = ([[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]], [[20, 21], [22, 23]])
    copied(mha, [torch.tensor(place, dtype=torch.float32, device=device) for place in places])


@covers(2)
def test_any_sizes(student, make):
    """any d_model and number of heads"""
    for d_model, n_heads in ((6, 3), (1, 1)):
        mha, builtin, weights = make(d_model, n_heads)
        student.copy_builtin_weights(mha, builtin)
        copied(mha, weights)


@covers(3)
def test_same_outputs(student, reference, make, inputs):
    """both give the same outputs and weights afterwards"""
    mha, builtin, (*stacked, last) = make(6, 3)
    student.copy_builtin_weights(mha, builtin)
    model = reference.MultiHeadAttention(6, 3).to(inputs.device)  # so only the copying is judged here
    model.load_state_dict({f"{name}.weight": mha.state_dict()[f"{name}.weight"] for name in NAMES})
    wanted = reference.builtin("MultiheadAttention", 6, 3, bias=False, batch_first=True).to(inputs.device)
    wanted.load_state_dict({"in_proj_weight": torch.cat(stacked), "out_proj.weight": last})

    def theirs(X, mask=None):
        return wanted.to(X.dtype)(X, X, X, attn_mask=mask, average_attn_weights=False)

    X = inputs.randn(2, 4, 6)
    agree(model, theirs, X, mask=inputs.mask(4, 4), what=("output", "weights"), hint=ORDER)


@covers(3)
def test_no_shared_storage(student, make):
    """the two share no storage: changing one later leaves the other alone"""
    mha, builtin, weights = make()
    student.copy_builtin_weights(mha, builtin)
    builtin.load_state_dict({name: torch.zeros_like(w) for name, w in builtin.state_dict().items()})
    copied(mha, weights, APART)
    mha.load_state_dict({name: torch.ones_like(w) for name, w in mha.state_dict().items()})
    holds(builtin.state_dict(), {name: torch.zeros_like(w) for name, w in builtin.state_dict().items()}, APART)


@covers(3)
def test_as_trainable_as_before(student, make):
    """each parameter keeps its requires_grad, and a frozen one is copied into all the same"""
    for frozen in (("W_Q.weight", "W_O.weight"), ("W_K.weight", "in_proj_weight")):
        mha, builtin, weights = make()
        parameters = {**dict(mha.named_parameters()), **dict(builtin.named_parameters())}
        for name, parameter in parameters.items():
            parameter.requires_grad_(name not in frozen)
        student.copy_builtin_weights(mha, builtin)
        copied(mha, weights)
        flags = {**dict(mha.named_parameters()), **dict(builtin.named_parameters())}
        if any(parameter.requires_grad is (name in frozen) for name, parameter in flags.items()):
            raise Mismatch("each parameter as trainable as it was before", "another flag", FLAGS)
        if flags.keys() != parameters.keys():
            raise Mismatch("the parameters that there were", "others", APART)


@covers(4)
def test_extreme_values(student, make):
    """zeros, infinities and the smallest numbers are copied as they are"""
    mha, builtin, weights = make()
    extremes = torch.tensor([0.0, float("inf"), -float("inf"), 1e-40, 1e30])
    weights[1][0], weights[3][:, 1] = extremes[:4].to(weights[1]), extremes[1:].to(weights[3])
    builtin.load_state_dict({"in_proj_weight": torch.cat(weights[:3]), "out_proj.weight": weights[3]})
    student.copy_builtin_weights(mha, builtin)
    copied(mha, weights)


@covers(5)
def test_dtype_is_kept(student, make):
    """mha keeps its dtype, and the values are converted where they must be"""
    for dtype, of_builtin in zip(DTYPES, (torch.float32, torch.bfloat16, torch.float64, torch.float16), strict=True):
        mha, builtin, weights = make(dtype=dtype, builtin_dtype=of_builtin)
        student.copy_builtin_weights(mha, builtin)
        if any(parameter.dtype != dtype for parameter in mha.parameters()):
            raise Mismatch("mha in the dtype that it had", "another dtype", "values are converted, mha is not")
        copied(mha, [weight.to(dtype) for weight in weights])


@covers(7)
def test_builtin_stays_as_it_is(student, make):
    """builtin is not changed, nor is the mode of either"""
    mha, builtin, _ = make()
    mha.eval()
    with unmodified(*builtin.parameters(), hint="builtin is read, not written"):
        student.copy_builtin_weights(mha, builtin)
    if mha.training or not builtin.training:
        raise Mismatch("both modules in the mode they were in", "another mode", "leave train() and eval() alone")


@covers(8)
def test_memory_layout_does_not_matter(student, make):
    """the weights of builtin need not be contiguous"""
    mha, builtin, weights = make()
    for parameter in builtin.parameters():
        parameter.data = noncontiguous(parameter.detach())
    student.copy_builtin_weights(mha, builtin)
    copied(mha, weights)


@covers(9)
def test_device_is_kept(student, make):
    """mha stays on its device"""
    mha, builtin, weights = make()
    student.copy_builtin_weights(mha, builtin)
    if any(parameter.device.type != weights[0].device.type for parameter in mha.parameters()):
        raise Mismatch("mha on the device where it was", "another device", "move values, not the module")
    check_placement(student.copy_builtin_weights, None, (mha, builtin), {})


@covers(12)
def test_calls_leave_no_trace(student, make):
    """a second copy replaces the first, the default dtype does not matter, and nothing global is changed"""
    (mha, other, _), (_, builtin, weights) = make(), make()
    with leaves_no_state(), default_dtype(torch.float64):
        student.copy_builtin_weights(mha, other)
        student.copy_builtin_weights(mha, builtin)
    copied(mha, weights)
