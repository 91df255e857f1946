"""Hidden tests of causal_mask(seq_len, device=None): bool (seq_len, seq_len), True above the diagonal."""

import torch

from autograder.checking import agree, agree_types, check_placement, close, covers, default_dtype, leaves_no_state

BLOCKED = "True = blocked: entry [i, j] is True where key j comes later than query i"


@covers(1)
def test_values_worked_by_hand(student, device):
    """the mask of four tokens"""
    wanted = [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    close(student.causal_mask(4, device=device), wanted, hint=BLOCKED)


@covers(2)
def test_any_length(student, reference, device):
    """any length: one, two, odd, long"""
    for seq_len in (1, 2, 3, 8, 33):
        agree(student.causal_mask, reference.causal_mask, seq_len, device=device, hint=BLOCKED)


@covers(3)
def test_a_token_sees_itself(student, reference, device):
    """every token sees itself"""
    mask = agree(student.causal_mask, reference.causal_mask, 7, device=device, hint=BLOCKED)
    close(mask.diagonal(), [0.0] * 7, "the diagonal", hint="a token is not its own future")


@covers(3)
def test_a_token_sees_its_whole_past(student, reference, device):
    """token i sees i + 1 tokens, itself and all before it"""
    mask = agree(student.causal_mask, reference.causal_mask, 9, device=device, hint=BLOCKED)
    seen = (mask == 0).sum(-1)
    close(seen, [float(i + 1) for i in range(9)], "the number of visible tokens in each row", hint=BLOCKED)


@covers(4)
def test_long_masks(student, reference, device):
    """a mask of two hundred tokens"""
    agree(student.causal_mask, reference.causal_mask, 200, device=device, hint=BLOCKED)


@covers(5)
def test_mask_is_boolean(student, reference, device):
    """the mask is boolean"""
    agree_types(student.causal_mask, reference.causal_mask, 5, device=device, hint="a mask holds True and False")


@covers(9)
def test_device_is_the_one_given(student, reference, device):
    """the mask is on the device given, by default on torch's own"""
    hint = "make the mask on the device that is given"
    agree_types(student.causal_mask, reference.causal_mask, 3, device=device, device_only=True, hint=hint)
    check_placement(student.causal_mask, reference.causal_mask(3, device=device), (3,), {"device": "cuda"})
    agree_types(student.causal_mask, reference.causal_mask, 3, device_only=True, hint=hint)


@covers(12)
def test_default_dtype_does_not_matter(student, reference, device):
    """the mask does not depend on the default dtype"""
    with default_dtype(torch.float64):
        agree(student.causal_mask, reference.causal_mask, 6, device=device)


@covers(12)
def test_calls_leave_no_trace(student, reference, device):
    """an earlier call changes nothing"""
    with leaves_no_state():
        for seq_len in (5, 3, 5):
            agree(student.causal_mask, reference.causal_mask, seq_len, device=device)
