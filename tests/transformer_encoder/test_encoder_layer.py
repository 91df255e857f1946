"""Hidden tests of encoder_layer(x, params, n_heads, mask=None)."""

from functools import partial

import torch

from autograder.checking import (
    OTHER_DTYPES,
    agree,
    agree_gradients,
    agree_types,
    check_gradients,
    close,
    covers,
    decided,
    default_dtype,
    keeps_device,
    keeps_dtype,
    leaves_no_state,
    noncontiguous,
    on_copies,
    unmodified,
    zeros,
)
from autograder.nested import cast

PARTS = ("output", "weights")
ORDER = "attention, sum, norm, feed-forward, sum, norm: the norm comes after each sum"
BLOCKED = "hand the mask on to multi_head_attention as it is: True means blocked"
POST_NORM = "the second sum begins with what the first norm gave"


@covers(1)
def test_values_worked_by_hand(student, device, still):
    """one token, worked by hand: the norm comes after each sum, and the second sum begins with the first norm"""
    x = torch.tensor([[3072.0, 1024.0]], device=device)  # so large that eps is lost
    params = still(2) | {"b2": torch.tensor([0.0, 4096.0], device=device)}
    close(on_copies(student.encoder_layer, x, params, n_heads=1)[0], [[-1.0, 1.0]], "output", ORDER)
    params |= {"gamma2": torch.tensor([2.0, 3.0], device=device), "beta2": torch.tensor([5.0, 0.0], device=device)}
    close(on_copies(student.encoder_layer, x, params, n_heads=1)[0], [[3.0, 3.0]], "output", ORDER)


@covers(1)
def test_first_norm_by_hand(student, device, still):
    """gamma1 and beta1 belong to the norm after attention, worked by hand"""
    x = torch.tensor([[3072.0, 1024.0]], device=device)
    gamma, beta = torch.tensor([1024.0, 512.0], device=device), torch.tensor([0.0, 4096.0], device=device)
    hint = "the first norm gives gamma1 * (1, -1) + beta1"
    params = still(2) | {"gamma1": gamma, "beta1": beta}
    close(on_copies(student.encoder_layer, x, params, n_heads=1)[0], [[-1.0, 1.0]], "output", hint)
    params |= {"W1": torch.eye(2, device=device), "W2": -torch.eye(2, device=device)}  # feed-forward takes it all away
    params |= {"b2": torch.tensor([4096.0, 0.0], device=device)}
    close(on_copies(student.encoder_layer, x, params, n_heads=1)[0], [[1.0, -1.0]], "output", POST_NORM)


@covers(2)
def test_random_layers(student, reference, inputs, layer):
    """random layers, odd sizes and one, any number of batch dimensions"""
    x, params = inputs.randn(2, 1, 2, 5, 6), layer(6, 7)
    agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=3, what=PARTS, hint=ORDER)


@covers(2)
def test_number_of_heads(student, reference, inputs, layer):
    """as many heads as there are features, and all sizes equal"""
    x, params = inputs.randn(4, 4, 4), layer(4, 4)
    agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=4, what=PARTS)


@covers(2)
def test_random_masks(student, reference, inputs, layer):
    """a mask for each batch element, a mask for each head"""
    x, params = inputs.randn(3, 4, 6), layer(6, 5)
    for shape in ((3, 1, 4, 4), (2, 4, 4)):
        given = {"n_heads": 2, "mask": inputs.mask(*shape)}
        agree(student.encoder_layer, reference.encoder_layer, x, params, **given, what=PARTS, hint=BLOCKED)


@covers(3)
def test_large_skip_values(student, reference, inputs, layer):
    """what comes in is carried along beside attention, and beside feed-forward"""
    x, params = inputs.randn(4, 6, scale=5), layer(6, 7)
    params["gamma1"] = 5 * params["gamma1"]
    agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=3, what=PARTS, hint=POST_NORM)


@covers(3)
def test_order_of_tokens(student, reference, inputs, layer):
    """tokens in another order have their outputs in that order"""
    order = inputs.permutation(6).to(inputs.device)

    def moved_after(x, params):
        output, weights = reference.encoder_layer(x, params, n_heads=2)
        return output[order], weights[:, order][:, :, order]

    def moved_before(x, params):
        return student.encoder_layer(x[order], params, n_heads=2)

    agree(moved_before, moved_after, inputs.randn(6, 4), layer(4, 8), what=PARTS)


@covers(3)
def test_later_tokens(student, reference, inputs, layer):
    """under a causal mask a later token does not change the output of an earlier one"""
    later = torch.ones(5, 5, dtype=torch.bool, device=inputs.device).triu(1)
    change = torch.tensor([0, 0, 0, 1, 1], device=inputs.device).unsqueeze(1)

    def early(layer, x, params):
        output, weights = layer(x, params, n_heads=2, mask=later)
        return output[:, :3], weights[..., :3, :]

    def student_after_a_change(x, params):
        return early(student.encoder_layer, x + change, params)

    x, params = inputs.randn(2, 5, 4), layer(4, 8)
    wanted = partial(early, reference.encoder_layer)
    _, weights = agree(student_after_a_change, wanted, x, params, what=PARTS, hint=BLOCKED)
    zeros(weights[..., later[:3]], "the weights of later tokens", BLOCKED)


@covers(3)
def test_sentences_by_themselves(student, reference, inputs, layer):
    """a sentence gives the same alone as it does within a batch"""

    def alone(x, params):
        return student.encoder_layer(x[1], params, n_heads=2)

    def within(x, params):
        return tuple(part[1] for part in reference.encoder_layer(x, params, n_heads=2))

    agree(alone, within, inputs.randn(3, 4, 6), layer(6, 5), what=PARTS)


@covers(4)
def test_all_blocked(student, reference, inputs, layer):
    """a query that may attend to nothing has weights of zero and goes on with its skips"""
    x, params = inputs.randn(2, 4, 6), layer(6, 5)
    mask = inputs.mask(4, 4)
    mask[2] = True
    hint = "where nothing is open, attention adds zero; never NaN"
    _, weights = agree(
        student.encoder_layer, reference.encoder_layer, x, params, n_heads=3, mask=mask, what=PARTS, hint=hint
    )
    zeros(weights[..., 2, :], "the weights of a query that may attend to nothing", hint)


@covers(4)
def test_one_token(student, reference, inputs, layer):
    """a single token looks at itself, and constant tokens do no harm"""
    x, params = inputs.randn(3, 1, 4), layer(4, 8)
    x[2] = 1.0
    agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=2, what=PARTS)


@covers(4)
def test_large_numbers(student, reference, inputs, layer):
    """large numbers, with attention that looks at one token only"""
    params = layer(6, 5)
    x = decided(lambda: inputs.randn(4, 6, scale=100), lambda x: reference.encoder_layer(x, params, n_heads=2)[1])
    agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=2, what=PARTS)


@covers(5)
def test_dtype_is_kept(student, reference, inputs, layer):
    """output and weights have the dtype of the input"""
    keeps_dtype(student.encoder_layer, reference.encoder_layer, inputs.randn(3, 4), layer(4, 6), n_heads=2, what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs, layer):
    """as accurate as each dtype allows"""
    x, params = inputs.randn(3, 4, dtype=torch.float64), layer(4, 6, torch.float64)
    for dtype in OTHER_DTYPES:
        given = x.to(dtype), cast(params, dtype)
        agree(student.encoder_layer, reference.encoder_layer, *given, n_heads=2, what=PARTS)


@covers(6)
def test_gradient_is_the_slope(student, inputs, layer):
    """the gradient is the slope of the function"""
    x, params = inputs.randn(3, 4, dtype=torch.float64), layer(4, 3, torch.float64)

    def of_some(x, W_K, gamma1):
        return student.encoder_layer(x, params | {"W_K": W_K, "gamma1": gamma1}, n_heads=2)

    check_gradients(of_some, x, params["W_K"], params["gamma1"])


@covers(6)
def test_gradients_of_all_arguments(student, reference, inputs, layer):
    """gradients flow to x and to every parameter, under a mask too; they are never NaN where everything is blocked"""
    x, params, mask = inputs.randn(2, 3, 4), layer(4, 5), inputs.mask(2, 1, 3, 3)
    mask[1] = True
    given = {"n_heads": 2, "mask": mask, "hint": "a NaN that is replaced later still poisons the gradient"}
    agree_gradients(student.encoder_layer, reference.encoder_layer, x, params, **given, what=PARTS)


@covers(7)
def test_arguments_stay_as_they_are(student, inputs, layer):
    """the arguments stay as they are"""
    for requires_grad in (False, True):
        x, params = inputs.randn(3, 4, requires_grad=requires_grad), layer(4, 6, requires_grad=requires_grad)
        mask = inputs.mask(3, 3)
        with unmodified(x, params, mask):
            student.encoder_layer(x, params, n_heads=2, mask=mask)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs, layer, scattered):
    """the arguments need not be contiguous"""
    x, params = noncontiguous(inputs.randn(2, 3, 4)), scattered(layer(4, 6))
    mask = inputs.mask(3, 3).T.contiguous().T
    agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=2, mask=mask, what=PARTS)


@covers(9)
def test_device_is_kept(student, reference, inputs, layer):
    """output and weights are on the device of the input"""
    keeps_device(student.encoder_layer, reference.encoder_layer, inputs.randn(3, 4), layer(4, 6), n_heads=2, what=PARTS)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs, layer):
    """the result does not depend on the default dtype"""
    x, params, mask = inputs.randn(3, 4), layer(4, 6), inputs.mask(3, 3)
    with default_dtype(torch.float64):
        agree_types(student.encoder_layer, reference.encoder_layer, x, params, n_heads=2, mask=mask, what=PARTS)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs, layer):
    """an earlier call changes nothing, and gradients may be switched off"""
    x, params = inputs.randn(3, 4), layer(4, 6)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.encoder_layer, inputs.randn(2, 2, 4), params, n_heads=1)
        agree(student.encoder_layer, reference.encoder_layer, x, params, n_heads=2, what=PARTS)
