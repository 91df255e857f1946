"""Wrong answers to lesson 3 that students give, each with the idea it violates and the test that is named for it."""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import wrong


@wrong(
    "sinusoidal_positional_encoding",
    idea="Sines and cosines have changed places: even columns are the sines, odd ones the cosines.",
    caught_by="test_even_columns_hold_sines",
)
def cosines_first(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.cos(), angle.sin()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="Sines and cosines take turns from column to column; here all sines stand before all cosines.",
    caught_by="test_even_columns_hold_sines",
)
def sines_then_cosines(max_len, d_model, device=None):
    divisor = 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64, device=device) / d_model)
    angle = torch.arange(max_len, device=device).double()[:, None] / divisor
    return torch.cat((angle.sin(), angle.cos()), dim=-1)[:, :d_model].float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="The sine and the cosine of a pair share one frequency; here each column has a frequency of its own.",
    caught_by="test_each_pair_lies_on_the_unit_circle",
)
def own_frequency_for_each_column(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000 ** (column.double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="The exponent is 2i / d_model with i the number of the pair; here the factor 2 is missing.",
    caught_by="test_slowest_pairs",
)
def exponent_without_two(max_len, d_model, device=None):
    pair = torch.arange(d_model, device=device) // 2
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000 ** (pair.double() / d_model)
    return torch.where(torch.arange(d_model, device=device) % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="In the exponent 2i / d_model, 2i is the number of the even column; here it has been doubled once more.",
    caught_by="test_slowest_pairs",
)
def exponent_doubled_twice(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    exponent = 2 * (column - column % 2).double() / d_model
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000**exponent
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="The exponents are spaced by 2 / d_model and stop before 1; here the last pair is given the full 10000.",
    caught_by="test_slowest_pairs",
)
def exponents_reach_one(max_len, d_model, device=None):
    n_pairs = (d_model + 1) // 2
    exponent = torch.arange(n_pairs, dtype=torch.float64, device=device) / max(n_pairs - 1, 1)
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000**exponent
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d_model].float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="The base of the wavelengths is 10000, not 1000.",
    caught_by="test_first_rows_by_hand",
)
def base_1000(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    angle = torch.arange(max_len, device=device).double()[:, None] / 1000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="The power of 10000 divides the position here, it does not multiply it: no wave is faster than the first.",
    caught_by="test_first_rows_by_hand",
)
def multiplied_by_the_divisor(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    angle = torch.arange(max_len, device=device).double()[:, None] * 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="Positions are counted from 0; here row 0 belongs to position 1.",
    caught_by="test_positions_start_at_zero",
)
def positions_from_one(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    pos = torch.arange(1, max_len + 1, device=device).double()[:, None]
    angle = pos / 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="An angle is the position itself, not its share of the whole length: a row must not depend on max_len.",
    caught_by="test_a_row_does_not_depend_on_max_len",
)
def positions_as_a_share(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    pos = torch.arange(max_len, device=device).double()[:, None] / max_len
    angle = pos / 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="Sine and cosine already repeat after 2 pi; the position is not multiplied by 2 pi as well.",
    caught_by="test_first_rows_by_hand",
)
def extra_two_pi(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    pos = 2 * math.pi * torch.arange(max_len, device=device).double()[:, None]
    angle = pos / 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="With an odd d_model the last column is a sine; here there is no room for it.",
    caught_by="test_an_odd_d_model_ends_with_a_sine",
)
def even_d_model_only(max_len, d_model, device=None):
    divisor = 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64, device=device) / d_model)
    angle = torch.arange(max_len, device=device).double()[:, None] / divisor
    table = torch.zeros(max_len, d_model, device=device)
    table[:, 0::2] = angle.sin().float()
    table[:, 1::2] = angle.cos().float()
    return table


@wrong(
    "sinusoidal_positional_encoding",
    idea="With an odd d_model the last column is a sine; here it stays empty.",
    caught_by="test_an_odd_d_model_ends_with_a_sine",
)
def last_sine_left_out(max_len, d_model, device=None):
    n_pairs = d_model // 2
    divisor = 10000 ** (2 * torch.arange(n_pairs, dtype=torch.float64, device=device) / d_model)
    angle = torch.arange(max_len, device=device).double()[:, None] / divisor
    table = torch.zeros(max_len, d_model, device=device)
    table[:, 0 : 2 * n_pairs : 2] = angle.sin().float()
    table[:, 1 : 2 * n_pairs : 2] = angle.cos().float()
    return table


@wrong(
    "sinusoidal_positional_encoding",
    idea="For an odd d_model the exponents are divided by d_model itself, not by the next even number.",
    caught_by="test_an_odd_d_model_ends_with_a_sine",
)
def rounded_up_and_cut(max_len, d_model, device=None):
    even = d_model + d_model % 2
    divisor = 10000 ** (torch.arange(0, even, 2, dtype=torch.float64, device=device) / even)
    angle = torch.arange(max_len, device=device).double()[:, None] / divisor
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d_model].float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="Angles in a half type have no digits left at far positions.",
    caught_by="test_far_positions",
)
def half_precision_angles(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    divisor = 10000 ** ((column - column % 2).float() / d_model)
    angle = (torch.arange(max_len, device=device).float()[:, None] / divisor).bfloat16()
    return torch.where(column % 2 == 0, angle.float().sin(), angle.float().cos())


@wrong(
    "sinusoidal_positional_encoding",
    idea="The table is float32, also where it was computed in float64.",
    caught_by="test_result_is_float32",
)
def stays_float64(max_len, d_model, device=None):
    column = torch.arange(d_model, device=device)
    angle = torch.arange(max_len, device=device).double()[:, None] / 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


@wrong(
    "sinusoidal_positional_encoding",
    idea="A new tensor without a dtype takes torch's default, which need not be float32.",
    caught_by="test_does_not_depend_on_the_default_dtype",
)
def default_dtype_table(max_len, d_model, device=None):
    divisor = 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64, device=device) / d_model)
    angle = torch.arange(max_len, device=device).double()[:, None] / divisor
    table = torch.zeros(max_len, d_model, device=device)
    table[:, 0::2] = angle.sin().to(table.dtype)
    table[:, 1::2] = angle[:, : d_model // 2].cos().to(table.dtype)
    return table


@wrong(
    "wavelengths",
    idea="A wave repeats when its angle has grown by 2 pi, not by 1.",
    caught_by="test_full_turn",
)
def without_two_pi(d_model):
    return 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


@wrong(
    "wavelengths",
    idea="Half a turn, pi, does not bring a wave back to where it was.",
    caught_by="test_full_turn",
)
def half_a_turn(d_model):
    return math.pi * 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


@wrong(
    "wavelengths",
    idea="These are frequencies: a slow wave has a long wavelength.",
    caught_by="test_after_one_wavelength_the_encoding_repeats",
)
def frequencies(d_model):
    return 2 * math.pi * 10000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


@wrong(
    "wavelengths",
    idea="The exponent is 2i / d_model; here the factor 2 is missing.",
    caught_by="test_one_factor_from_pair_to_pair",
)
def wavelengths_without_two(d_model):
    return 2 * math.pi * 10000 ** (torch.arange((d_model + 1) // 2, dtype=torch.float64) / d_model)


@wrong(
    "wavelengths",
    idea="2i is already the number of the even column; here it has been doubled once more.",
    caught_by="test_one_factor_from_pair_to_pair",
)
def wavelengths_doubled_twice(d_model):
    return 2 * math.pi * 10000 ** (2 * torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


@wrong(
    "wavelengths",
    idea="The exponents stop before 1; here the last wavelength is given the full 10000.",
    caught_by="test_one_factor_from_pair_to_pair",
)
def wavelengths_reach_10000(d_model):
    n_pairs = (d_model + 1) // 2
    return 2 * math.pi * 10000 ** (torch.arange(n_pairs, dtype=torch.float64) / max(n_pairs - 1, 1))


@wrong(
    "wavelengths",
    idea="There is one wavelength a pair, not one a column.",
    caught_by="test_agrees_with_the_formula",
)
def one_for_each_column(d_model):
    column = torch.arange(d_model, dtype=torch.float64)
    return 2 * math.pi * 10000 ** ((column - column % 2) / d_model)


@wrong(
    "wavelengths",
    idea="Half of an odd d_model is rounded up: the last sine has a wavelength too.",
    caught_by="test_an_odd_d_model_counts_its_last_sine",
)
def rounded_down(d_model):
    return 2 * math.pi * 10000 ** (2 * torch.arange(d_model // 2, dtype=torch.float64) / d_model)


@wrong(
    "wavelengths",
    idea="The shortest wavelength belongs to pair 0 and comes first.",
    caught_by="test_full_turn",
)
def longest_first(d_model):
    return (2 * math.pi * 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)).flip(0)


@wrong(
    "wavelengths",
    idea="The result is float64; this one is float32.",
    caught_by="test_result_is_float64",
)
def in_float32(d_model):
    return 2 * math.pi * 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float32) / d_model)


@wrong(
    "wavelengths",
    idea="What was computed in float32 does not become exact by a conversion at the end.",
    caught_by="test_result_is_float64",
)
def float32_called_float64(d_model):
    return (2 * math.pi * 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float32) / d_model)).to(torch.float64)


@wrong(
    "relative_shift",
    idea="The two sines of each block have changed places, so that positions run backwards.",
    caught_by="test_direction",
)
def transposed(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(0, d_model, 2):
        angle = k / 10000 ** (i / d_model)
        M[i, i] = M[i + 1, i + 1] = math.cos(angle)
        M[i, i + 1], M[i + 1, i] = -math.sin(angle), math.sin(angle)
    return M


@wrong(
    "relative_shift",
    idea="A negative k turns the other way; here its sign gets lost.",
    caught_by="test_a_negative_k_goes_back",
)
def without_sign(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(0, d_model, 2):
        angle = abs(k) / 10000 ** (i / d_model)
        M[i, i] = M[i + 1, i + 1] = math.cos(angle)
        M[i, i + 1], M[i + 1, i] = math.sin(angle), -math.sin(angle)
    return M


@wrong(
    "relative_shift",
    idea="One of the two sines in a block needs a minus sign, or the block is no rotation.",
    caught_by="test_worked_example",
)
def both_sines_positive(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(0, d_model, 2):
        angle = k / 10000 ** (i / d_model)
        M[i, i] = M[i + 1, i + 1] = math.cos(angle)
        M[i, i + 1] = M[i + 1, i] = math.sin(angle)
    return M


@wrong(
    "relative_shift",
    idea="Each pair turns at its own speed; here all turn by the angle of the first.",
    caught_by="test_each_pair_turns_at_its_own_speed",
)
def one_angle_for_all(k, d_model):
    block = torch.tensor([[math.cos(k), math.sin(k)], [-math.sin(k), math.cos(k)]], dtype=torch.float64)
    return torch.block_diag(*[block] * (d_model // 2))


@wrong(
    "relative_shift",
    idea="The exponent is 2i / d_model with i the number of the pair; here the factor 2 is missing.",
    caught_by="test_each_pair_turns_at_its_own_speed",
)
def shift_without_two(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(d_model // 2):
        angle = k / 10000 ** (i / d_model)
        M[2 * i, 2 * i] = M[2 * i + 1, 2 * i + 1] = math.cos(angle)
        M[2 * i, 2 * i + 1], M[2 * i + 1, 2 * i] = math.sin(angle), -math.sin(angle)
    return M


@wrong(
    "relative_shift",
    idea="Sine and cosine of a pair are neighbours; here the matrix is made for all sines before all cosines.",
    caught_by="test_pairs_stand_side_by_side",
)
def halves(k, d_model):
    angle = k / 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    cos, sin = torch.diag(angle.cos()), torch.diag(angle.sin())
    return torch.cat((torch.cat((cos, sin), dim=1), torch.cat((-sin, cos), dim=1)))


@wrong(
    "relative_shift",
    idea="The sines couple the two columns of a pair; a diagonal of cosines alone does not turn anything.",
    caught_by="test_worked_example",
)
def cosines_only(k, d_model):
    angle = k / 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.diag(angle.cos().repeat_interleave(2))


@wrong(
    "relative_shift",
    idea="The matrix moves the position, not the entries of the vector from column to column.",
    caught_by="test_moves_every_position_ahead",
)
def rolls_the_columns(k, d_model):
    return torch.eye(d_model, dtype=torch.float64).roll(k, 0)


@wrong(
    "relative_shift",
    idea="The angle is the frequency times k; here k is counted from 1.",
    caught_by="test_no_step",
)
def one_step_too_far(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(0, d_model, 2):
        angle = (k + 1) / 10000 ** (i / d_model)
        M[i, i] = M[i + 1, i + 1] = math.cos(angle)
        M[i, i + 1], M[i + 1, i] = math.sin(angle), -math.sin(angle)
    return M


@wrong(
    "relative_shift",
    idea="A slow pair turns by a small angle: divide k by the power of 10000.",
    caught_by="test_each_pair_turns_at_its_own_speed",
)
def turned_by_the_wavelength(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(0, d_model, 2):
        angle = k * 10000 ** (i / d_model)
        M[i, i] = M[i + 1, i + 1] = math.cos(angle)
        M[i, i + 1], M[i + 1, i] = math.sin(angle), -math.sin(angle)
    return M


@wrong(
    "relative_shift",
    idea="One matrix for all positions: fitted to the first positions only, it does not hold for later ones.",
    caught_by="test_moves_every_position_ahead",
)
def fitted_to_one_position(k, d_model):
    row = sinusoidal_positional_encoding(abs(k) + 2, d_model).double()
    start, goal = (row[1], row[1 + k]) if k >= 0 else (row[1 - k], row[1])
    return torch.outer(goal, start) / start.dot(start)


@wrong(
    "relative_shift",
    idea="A half type is too coarse for this matrix: it is float32 or float64.",
    caught_by="test_result_is_float32_or_float64",
)
def shift_in_half(k, d_model):
    M = torch.zeros(d_model, d_model, dtype=torch.bfloat16)
    for i in range(0, d_model, 2):
        angle = k / 10000 ** (i / d_model)
        M[i, i] = M[i + 1, i + 1] = math.cos(angle)
        M[i, i + 1], M[i + 1, i] = math.sin(angle), -math.sin(angle)
    return M


@wrong(
    "embed",
    idea="The words are not scaled: the factor sqrt(d_model) is missing.",
    caught_by="test_words_are_scaled",
)
def not_scaled(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="Words are multiplied by sqrt(d_model) here, not divided by it as scores are.",
    caught_by="test_words_are_scaled",
)
def divided(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] / math.sqrt(W_embed.shape[-1]) + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="The factor is the square root of d_model, not d_model.",
    caught_by="test_words_are_scaled",
)
def scaled_without_root(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * W_embed.shape[-1] + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="The factor is taken from the length of the vectors, d_model, not from the length of the sequence.",
    caught_by="test_words_are_scaled",
)
def scaled_by_seq(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * math.sqrt(token_ids.shape[-1]) + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="The factor is taken from d_model, not from the size of the vocabulary: mind the order of W_embed's sizes.",
    caught_by="test_words_are_scaled",
)
def scaled_by_vocabulary(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * math.sqrt(W_embed.shape[0]) + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="Only the words are scaled; here the encoding is scaled with them.",
    caught_by="test_encoding_is_not_scaled",
)
def sum_scaled(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return (W_embed[token_ids] + places.to(W_embed.dtype)) * math.sqrt(W_embed.shape[-1])


@wrong(
    "embed",
    idea="The encoding is missing, so that the result does not know the order of the tokens.",
    caught_by="test_encoding_is_not_scaled",
)
def words_only(token_ids, W_embed):
    return W_embed[token_ids] * math.sqrt(W_embed.shape[-1])


@wrong(
    "embed",
    idea="The encoding is added to the words, not multiplied with them.",
    caught_by="test_encoding_is_not_scaled",
)
def multiplied(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * math.sqrt(W_embed.shape[-1]) * places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="The row of the encoding is the place of a token in its sequence, not the number of the token.",
    caught_by="test_position_is_the_place_in_the_sequence",
)
def encoding_of_the_token(token_ids, W_embed):
    places = sinusoidal_positional_encoding(W_embed.shape[0], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * math.sqrt(W_embed.shape[-1]) + places.to(W_embed.dtype)[token_ids]


@wrong(
    "embed",
    idea="Every sequence of a batch starts at position 0; here positions are counted on from one to the next.",
    caught_by="test_every_sequence_starts_at_position_0",
)
def counted_through_the_batch(token_ids, W_embed):
    d_model = W_embed.shape[-1]
    places = sinusoidal_positional_encoding(token_ids.numel(), d_model, W_embed.device)
    return W_embed[token_ids] * math.sqrt(d_model) + places.to(W_embed.dtype).reshape(*token_ids.shape, d_model)


@wrong(
    "embed",
    idea="Seq is the last size of token_ids; its second size exists for a batch only.",
    caught_by="test_any_leading_dimensions",
)
def batches_only(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * math.sqrt(W_embed.shape[-1]) + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="A float32 encoding turns half types into float32: convert it to the dtype of W_embed before the sum.",
    caught_by="test_dtype_is_kept",
)
def encoding_not_converted(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] * math.sqrt(W_embed.shape[-1]) + places


@wrong(
    "embed",
    idea="Words in float64 lose digits on a way through float32.",
    caught_by="test_words_keep_float64_accuracy",
)
def words_through_float32(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return (W_embed[token_ids].float() * math.sqrt(W_embed.shape[-1]) + places).to(W_embed.dtype)


@wrong(
    "embed",
    idea="The embedding is learned: no detach(), .data or no_grad() may cut it off.",
    caught_by="test_gradients_of_the_embedding",
)
def detached(token_ids, W_embed):
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed.detach()[token_ids] * math.sqrt(W_embed.shape[-1]) + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="W_embed belongs to the caller: scale a copy of its rows, not the matrix itself.",
    caught_by="test_inputs_are_not_modified",
)
def scaled_in_place(token_ids, W_embed):
    with torch.no_grad():
        W_embed *= math.sqrt(W_embed.shape[-1])
    places = sinusoidal_positional_encoding(token_ids.shape[-1], W_embed.shape[-1], W_embed.device)
    return W_embed[token_ids] + places.to(W_embed.dtype)


@wrong(
    "embed",
    idea="View() asks for contiguous memory, which token_ids need not have.",
    caught_by="test_non_contiguous",
)
def flattened_by_view(token_ids, W_embed):
    d_model = W_embed.shape[-1]
    words = W_embed[token_ids.view(-1)].view(*token_ids.shape, d_model) * math.sqrt(d_model)
    places = sinusoidal_positional_encoding(token_ids.shape[-1], d_model, W_embed.device)
    return words + places.to(W_embed.dtype)


@wrong(
    "LearnedPositionalEmbedding",
    idea="The rows are added to x; here they are returned alone.",
    caught_by="test_x_is_kept",
)
class RowsOnly(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return self.table[: x.shape[-2]].expand(x.shape) + 0 * x


@wrong(
    "LearnedPositionalEmbedding",
    idea="The factor sqrt(d_model) belongs to the embedding of the words, not to this module.",
    caught_by="test_x_is_kept",
)
class ScalesX(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x * math.sqrt(x.shape[-1]) + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="Row 0 belongs to the first token; here the last rows of the table are used.",
    caught_by="test_starts_with_row_0",
)
class LastRows(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[-x.shape[-2] :]


@wrong(
    "LearnedPositionalEmbedding",
    idea="Positions are counted from 0; here row 0 is passed over.",
    caught_by="test_starts_with_row_0",
)
class StartsWithRowOne(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table.roll(-1, 0)[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="Each token gets the row of its own place; here all get the row that the length points to.",
    caught_by="test_starts_with_row_0",
)
class OneRowForAll(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[x.shape[-2] - 1]


@wrong(
    "LearnedPositionalEmbedding",
    idea="Seq is the last size but one, whatever stands before it; here a batch dimension is taken for granted.",
    caught_by="test_any_leading_dimensions",
)
class BatchesOnly(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        _, seq, _ = x.shape
        if seq > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[:seq]


@wrong(
    "LearnedPositionalEmbedding",
    idea="The length of the sequence is compared with max_len, not the size of the batch.",
    caught_by="test_a_large_batch_is_no_long_sequence",
)
class ComparesTheBatch(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[0] > self.table.shape[0] or x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="A sequence of exactly max_len tokens still fits.",
    caught_by="test_exactly_max_len",
)
class OneTooStrict(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] >= self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="A sequence that is too long is to raise ValueError; an error of torch about shapes is not that.",
    caught_by="test_too_long_a_sequence",
)
class NoCheck(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="A sequence that is too long is an error; here its end gets rows from the start of the table again.",
    caught_by="test_too_long_a_sequence",
)
class WrapsAround(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        return x + self.table[torch.arange(x.shape[-2], device=x.device) % self.table.shape[0]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="The error is to be a ValueError; an assertion raises another one.",
    caught_by="test_too_long_a_sequence",
)
class Asserts(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        assert x.shape[-2] <= self.table.shape[0]
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="A buffer is stored but not trained; the table must be a parameter.",
    caught_by="test_one_trainable_table",
)
class BufferTable(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.register_buffer("table", torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="A table with requires_grad=False is fixed, not learned.",
    caught_by="test_one_trainable_table",
)
class FrozenTable(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model), requires_grad=False)

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="Each position has d_model numbers of its own, not one number for all columns.",
    caught_by="test_one_trainable_table",
)
class OneNumberAPosition(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, 1))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="The table is all that is learned; a further parameter beside it is too much.",
    caught_by="test_one_trainable_table",
)
class WithAScale(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.scale * self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="A table that is detached in forward receives no gradient and never learns.",
    caught_by="test_gradients_of_the_table",
)
class DetachedTable(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table.detach()[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="X belongs to the caller: add into a new tensor, not into x.",
    caught_by="test_x_is_not_modified",
)
class AddsInPlace(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        x.data += self.table[: x.shape[-2]].data
        return x + 0 * self.table[: x.shape[-2]]


@wrong(
    "LearnedPositionalEmbedding",
    idea="Dropout is no part of this module: training and evaluation give the same.",
    caught_by="test_training_and_evaluation_agree",
)
class WithDropout(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max_len, d_model))
        self.dropout = torch.nn.Dropout(0.1)

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return self.dropout(x + self.table[: x.shape[-2]])


# --- right on the CPU only: where the arguments are is not where the answer computes


@wrong(
    "sinusoidal_positional_encoding",
    idea="Positions and frequencies are counted on the default device, whatever device is asked for.",
    caught_by="test_device_is_obeyed",
)
def table_without_the_device(max_len, d_model, device=None):
    column = torch.arange(d_model)
    angle = torch.arange(max_len).double()[:, None] / 10000 ** ((column - column % 2).double() / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "sinusoidal_positional_encoding",
    idea="The columns are filled on the device that was asked for, but in a table of the default one.",
    caught_by="test_device_is_obeyed",
)
def table_filled_on_the_default_device(max_len, d_model, device=None):
    pos = torch.arange(max_len, dtype=torch.float64, device=device)[:, None]
    angle = pos / 10000 ** (torch.arange(0, d_model, 2, dtype=torch.float64, device=device) / d_model)
    table = torch.empty(max_len, d_model)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : d_model // 2]
    return table


@wrong(
    "sinusoidal_positional_encoding",
    idea="Positions are counted on the device that was asked for, frequencies on the default one.",
    caught_by="test_device_is_obeyed",
)
def frequencies_without_the_device(max_len, d_model, device=None):
    column = torch.arange(d_model)
    rate = 10000 ** ((column - column % 2).double() / d_model)
    angle = torch.arange(max_len, device=device).double()[:, None] / rate
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@wrong(
    "embed",
    idea="The encoding is asked for without a device, so it is on the default one when it is added.",
    caught_by="test_device",
)
def encoding_without_the_device(token_ids, W_embed):
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    places = sinusoidal_positional_encoding(seq, d_model).to(W_embed.dtype)
    return W_embed[token_ids] * math.sqrt(d_model) + places


@wrong(
    "embed",
    idea="Words are looked up by a matrix of zeros and ones that is made on the default device.",
    caught_by="test_device",
)
def words_by_a_matrix_of_the_default_device(token_ids, W_embed):
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    words = torch.eye(W_embed.shape[0], dtype=W_embed.dtype)[token_ids] @ W_embed
    places = sinusoidal_positional_encoding(seq, d_model, device=W_embed.device).to(W_embed.dtype)
    return words * math.sqrt(d_model) + places


@wrong(
    "embed",
    idea="The result is put together on the CPU.",
    caught_by="test_device",
)
def embedded_on_the_cpu(token_ids, W_embed):
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    words = W_embed.to("cpu")[token_ids.to("cpu")] * math.sqrt(d_model)
    return words + sinusoidal_positional_encoding(seq, d_model).to(W_embed.dtype)


@wrong(
    "LearnedPositionalEmbedding",
    idea="The positions are a plain attribute: the module is moved to another device, and they stay behind.",
    caught_by="test_device",
)
class PositionsLeftBehind(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Parameter(0.02 * torch.randn(max_len, d_model))
        self.ones = torch.ones(max_len, 1)

    def forward(self, x):
        if x.shape[-2] > self.table.shape[0]:
            raise ValueError("too long")
        return x + self.table[: x.shape[-2]] * self.ones[: x.shape[-2]].to(x.dtype)


@wrong(
    "LearnedPositionalEmbedding",
    idea="The ready-made lookup wants the positions where its table is; these are counted on the default device.",
    caught_by="test_device",
)
class PositionsCountedElsewhere(torch.nn.Module):
    def __init__(self, max_len, d_model):
        super().__init__()
        self.table = torch.nn.Embedding(max_len, d_model)

    def forward(self, x):
        if x.shape[-2] > self.table.num_embeddings:
            raise ValueError("too long")
        return x + self.table(torch.arange(x.shape[-2]))
