"""Hidden tests of encoder(token_ids, params, n_heads, mask=None).

The lesson accepts float32 accuracy of the positional encoding, so no test asks for more.
"""

import math

import torch

from autograder.checking import (
    OTHER_DTYPES,
    agree,
    agree_gradients,
    agree_types,
    check_gradients,
    close,
    covers,
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
EMBEDDING = "sqrt(d_model) times the embedding, and then the encoding is added"
CHAIN = "each layer gets the output of the one before it, and parameters of its own"


def _example(inputs, layer, *shape, n_layers=2, d_model=4, d_ff=6, vocabulary=7, dtype=torch.float32):
    """token_ids and params of one call; the embeddings are about as large as the encoding once they are scaled."""
    table = inputs.randn(vocabulary, d_model, dtype=dtype, scale=d_model**-0.5)
    layers = [layer(d_model, d_ff, dtype) for _ in range(n_layers)]
    return inputs.randint(0, vocabulary, shape), {"W_embed": table, "layers": layers}


@covers(1)
def test_values_worked_by_hand(student, device, still):
    """a token at place zero, worked by hand"""
    table = torch.tensor([[0.0, 0.0, 1.0, 0.0], [3.0, 0.0, 0.0, 0.0]], device=device)
    params = {"W_embed": table, "layers": [still()]}
    first = math.sqrt(5.5 + 1e-5)  # (6, 1, 0, 1): mean 2, variance 5.5
    second = math.sqrt(5.5 / (5.5 + 1e-5) + 1e-5)
    wanted = [[number / first / second for number in (4.0, -1.0, -2.0, -1.0)]]
    output, _ = on_copies(student.encoder, torch.tensor([1], device=device), params, n_heads=2)
    close(output, wanted, "output", EMBEDDING)


@covers(2)
def test_random_sentences(student, reference, inputs, layer):
    """random sentences, odd sizes and one, any number of batch dimensions"""
    ids, params = _example(inputs, layer, 2, 1, 3, n_layers=1)
    agree(student.encoder, reference.encoder, ids, params, n_heads=4, what=PARTS, hint=EMBEDDING)


@covers(2)
def test_scale_of_the_embedding(student, reference, inputs, layer):
    """the embedding is scaled by sqrt(d_model), the encoding is not; d_model may be odd"""
    ids, params = _example(inputs, layer, 4, d_model=9, n_layers=1)
    agree(student.encoder, reference.encoder, ids, params, n_heads=3, what=PARTS, hint=EMBEDDING)


@covers(2)
def test_layers_in_turn(student, reference, inputs, layer):
    """three layers, each on the output of the one before, and the weights of each"""
    ids, params = _example(inputs, layer, 3, n_layers=3)
    agree(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS, hint=CHAIN)


@covers(3)
def test_word_order(student, reference, inputs, layer):
    """the same token at another place has another output"""
    _, params = _example(inputs, layer, 1, n_layers=1)
    ids = torch.tensor([2, 2, 2, 5], device=inputs.device)
    output, _ = agree(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS, hint=EMBEDDING)
    assert not torch.equal(output[0], output[1])


@covers(3)
def test_later_tokens(student, reference, inputs, layer):
    """under a causal mask a later token changes no earlier output, through all layers"""
    ids, params = _example(inputs, layer, 2, 5)
    later = torch.ones(5, 5, dtype=torch.bool, device=inputs.device).triu(1)
    changed = torch.where(later[2], (ids + 1) % 7, ids)  # the last two of five

    def early(encoder, ids, params):
        output, weights = encoder(ids, params, n_heads=2, mask=later)
        return output[:, :3], [each[..., :3, :] for each in weights]

    hint = "every layer gets the mask"
    _, weights = agree(
        lambda params: early(student.encoder, changed, params),
        lambda params: early(reference.encoder, ids, params),
        params,
        what=PARTS,
        hint=hint,
    )
    for each in weights:
        zeros(each[..., later[:3]], "the weights of later tokens", hint)


@covers(3)
def test_sentences_by_themselves(student, reference, inputs, layer):
    """a sentence gives the same alone as it does within a batch"""
    ids, params = _example(inputs, layer, 3, 4, n_layers=1)

    def alone(params):
        return student.encoder(ids[1], params, n_heads=2)

    def within(params):
        output, weights = reference.encoder(ids, params, n_heads=2)
        return output[1], [each[1] for each in weights]

    agree(alone, within, params, what=PARTS, hint="places count along seq, in each sentence from zero")


@covers(4)
def test_all_blocked(student, reference, inputs, layer):
    """a query that may attend to nothing has weights of zero, each sentence by a mask of its own"""
    ids, params = _example(inputs, layer, 2, 4, n_layers=1)
    mask, hint = inputs.mask(2, 1, 4, 4), "where nothing is open, attention adds zero; never NaN"
    mask[..., 1, :] = True
    _, weights = agree(student.encoder, reference.encoder, ids, params, n_heads=2, mask=mask, what=PARTS, hint=hint)
    zeros(weights[0][..., 1, :], "the weights of a query that may attend to nothing", hint)


@covers(4)
def test_one_token(student, reference, inputs, layer):
    """sentences of one token, a vocabulary of one"""
    ids, params = _example(inputs, layer, 3, 1, vocabulary=1, n_layers=1)
    agree(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS)


@covers(5)
def test_dtype_is_kept(student, reference, inputs, layer):
    """output and weights have the dtype of the embedding table"""
    ids, params = _example(inputs, layer, 3, n_layers=1)
    keeps_dtype(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS)


@covers(5)
def test_accurate_in_every_dtype(student, reference, inputs, layer):
    """as accurate as each dtype allows, the encoding as accurate as float32"""
    ids, params = _example(inputs, layer, 3, n_layers=1, dtype=torch.float64)
    for dtype in OTHER_DTYPES:
        given = ids, cast(params, dtype)
        agree(student.encoder, reference.encoder, *given, n_heads=2, what=PARTS, accuracy=torch.float32)


@covers(6)
def test_gradient_is_the_slope(student, inputs, layer):
    """the gradient is the slope of the function"""
    ids, params = _example(inputs, layer, 3, n_layers=1, vocabulary=4, dtype=torch.float64)

    def of_some(table, W_V):
        layers = [params["layers"][0] | {"W_V": W_V}]
        return student.encoder(ids, {"W_embed": table, "layers": layers}, n_heads=2)

    check_gradients(of_some, params["W_embed"], params["layers"][0]["W_V"])


@covers(6)
def test_gradients_of_all_arguments(student, reference, inputs, layer):
    """gradients flow to every parameter, and to each row of the table from all places of its token"""
    _, params = _example(inputs, layer, 1, vocabulary=5, n_layers=1)
    ids = torch.tensor([[1, 3, 1], [1, 0, 0]], device=inputs.device)
    gradients = agree_gradients(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS)
    zeros(gradients[0][[2, 4]], "the gradient of rows that are not used")


@covers(7)
def test_arguments_stay_as_they_are(student, inputs, layer):
    """the arguments stay as they are"""
    for requires_grad in (False, True):
        ids, params = _example(inputs, layer, 3, n_layers=1)
        params["W_embed"].requires_grad_(requires_grad)
        with unmodified(ids, params):
            student.encoder(ids, params, n_heads=2)


@covers(8)
def test_memory_layout_does_not_matter(student, reference, inputs, layer, scattered):
    """the arguments need not be contiguous"""
    ids, params = _example(inputs, layer, 4, 3, n_layers=1)
    params = {"W_embed": noncontiguous(params["W_embed"]), "layers": [scattered(each) for each in params["layers"]]}
    agree(student.encoder, reference.encoder, ids.T, params, n_heads=2, what=PARTS)


@covers(9)
def test_device_is_kept(student, reference, inputs, layer):
    """output and weights are on the device of the embedding table"""
    ids, params = _example(inputs, layer, 3, n_layers=1)
    keeps_device(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, inputs, layer):
    """the result does not depend on the default dtype"""
    ids, params = _example(inputs, layer, 3, n_layers=1)
    with default_dtype(torch.float64):
        agree_types(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS)


@covers(12)
def test_calls_leave_no_trace(student, reference, inputs, layer):
    """an earlier call changes nothing, and gradients may be switched off"""
    ids, params = _example(inputs, layer, 3, n_layers=1)
    with leaves_no_state(), torch.no_grad():
        on_copies(student.encoder, ids[:2], params, n_heads=1)
        agree(student.encoder, reference.encoder, ids, params, n_heads=2, what=PARTS)
