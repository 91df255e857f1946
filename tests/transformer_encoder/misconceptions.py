"""Wrong answers to lesson 4 that students give, each with the idea it violates and the test that is named for it."""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import wrong


@wrong(
    "layer_norm",
    idea="The variance is the biased one: the squares are divided by d_model, not by d_model - 1.",
    caught_by="test_biased_variance",
)
def unbiased_layer_norm(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps) + beta


@wrong(
    "layer_norm",
    idea="eps is added to the variance inside the root, not to the standard deviation.",
    caught_by="test_tiny_variance",
)
def layer_norm_with_eps_outside(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / (torch.sqrt((centred * centred).mean(-1, keepdim=True)) + eps) + beta


@wrong(
    "layer_norm",
    idea="eps is an argument: the function has to use the one it is given.",
    caught_by="test_eps_as_given",
)
def layer_norm_with_an_eps_of_its_own(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + 1e-5) + beta


@wrong(
    "layer_norm",
    idea="Without eps a token whose numbers are all equal is divided by zero.",
    caught_by="test_constant_tokens",
)
def layer_norm_without_eps(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(-1, keepdim=True)) + beta


@wrong(
    "layer_norm",
    idea="Each token has a mean and a variance of its own; here one pair serves the whole tensor.",
    caught_by="test_tokens_by_themselves",
)
def one_norm_for_the_whole_tensor(x, gamma, beta, eps=1e-5):
    centred = x - x.mean()
    return gamma * centred / torch.sqrt((centred * centred).mean() + eps) + beta


@wrong(
    "layer_norm",
    idea="Layer norm takes its statistics over the features of a token, not over the tokens.",
    caught_by="test_square_tensors",
)
def layer_norm_over_tokens(x, gamma, beta, eps=1e-5):
    dim = 0 if x.dim() == 1 else -2
    centred = x - x.mean(dim, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(dim, keepdim=True) + eps) + beta


@wrong(
    "layer_norm",
    idea="The deviations are divided by the root of the variance, not by the variance.",
    caught_by="test_values_worked_by_hand",
)
def layer_norm_without_a_root(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / ((centred * centred).mean(-1, keepdim=True) + eps) + beta


@wrong(
    "layer_norm",
    idea="The mean has to be taken away before anything else: a constant added to a token must change nothing.",
    caught_by="test_shift_changes_nothing",
)
def layer_norm_that_keeps_the_mean(x, gamma, beta, eps=1e-5):
    return gamma * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) + beta


@wrong(
    "layer_norm",
    idea="beta is added after gamma has stretched the normalised numbers, so gamma does not touch it.",
    caught_by="test_gamma_and_beta",
)
def layer_norm_that_stretches_beta(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gamma * (centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) + beta)


@wrong(
    "layer_norm",
    idea="gamma and beta are part of the result: normalising alone is half of it.",
    caught_by="test_gamma_and_beta",
)
def layer_norm_without_gamma_and_beta(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps)


@wrong(
    "layer_norm",
    idea="The mean of the squares minus the square of the mean loses its digits when the numbers are large.",
    caught_by="test_large_numbers",
)
def layer_norm_by_mean_of_squares(x, gamma, beta, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    variance = ((x * x).mean(-1, keepdim=True) - mean * mean).clamp(min=0)
    return gamma * (x - mean) / torch.sqrt(variance + eps) + beta


@wrong(
    "layer_norm",
    idea="Mean and variance are computed from x, so gradients flow through them too.",
    caught_by="test_gradients_of_all_arguments",
)
def layer_norm_with_detached_statistics(x, gamma, beta, eps=1e-5):
    mean = x.mean(-1, keepdim=True).detach()
    variance = x.var(-1, keepdim=True, unbiased=False).detach()
    return gamma * (x - mean) / torch.sqrt(variance + eps) + beta


@wrong(
    "layer_norm",
    idea="The result keeps the dtype of the input; here everything comes out as float32.",
    caught_by="test_dtype_is_kept",
)
def layer_norm_in_float32(x, gamma, beta, eps=1e-5):
    x, gamma, beta = x.float(), gamma.float(), beta.float()
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) + beta


@wrong(
    "layer_norm",
    idea="An argument belongs to the caller: x -= mean writes into it.",
    caught_by="test_arguments_stay_as_they_are",
)
def layer_norm_in_place(x, gamma, beta, eps=1e-5):
    with torch.no_grad():
        x -= x.mean(-1, keepdim=True)
    return gamma * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) + beta


@wrong(
    "batch_norm",
    idea="A feature's statistics run over batch and seq together; here each place in the sentence has its own.",
    caught_by="test_sentences_share_their_statistics",
)
def batch_norm_over_batch_only(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(0, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(0, keepdim=True) + eps) + beta


@wrong(
    "batch_norm",
    idea="A feature's statistics run over batch and seq together; here each sentence has its own.",
    caught_by="test_sentences_share_their_statistics",
)
def batch_norm_over_seq_only(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(1, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(1, keepdim=True) + eps) + beta


@wrong(
    "batch_norm",
    idea="Batch norm takes its statistics for each feature over all tokens; over the features it is layer norm.",
    caught_by="test_cubes",
)
def layer_norm_for_batch_norm(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gamma * centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) + beta


@wrong(
    "batch_norm",
    idea="Each feature has a mean and a variance of its own; here one pair serves all features.",
    caught_by="test_features_by_themselves",
)
def one_norm_for_all_features(x, gamma, beta, eps=1e-5):
    centred = x - x.mean()
    return gamma * centred / torch.sqrt((centred * centred).mean() + eps) + beta


@wrong(
    "batch_norm",
    idea="The variance is the biased one: the squares are divided by the number of tokens, not by one less.",
    caught_by="test_biased_variance",
)
def unbiased_batch_norm(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean((0, 1))) / torch.sqrt(x.var((0, 1)) + eps) + beta


@wrong(
    "batch_norm",
    idea="eps is added to the variance inside the root, not to the standard deviation.",
    caught_by="test_tiny_variance",
)
def batch_norm_with_eps_outside(x, gamma, beta, eps=1e-5):
    centred = x - x.mean((0, 1))
    return gamma * centred / (torch.sqrt((centred * centred).mean((0, 1))) + eps) + beta


@wrong(
    "batch_norm",
    idea="gamma and beta are part of the result: normalising alone is half of it.",
    caught_by="test_gamma_and_beta",
)
def batch_norm_without_gamma_and_beta(x, gamma, beta, eps=1e-5):
    centred = x - x.mean((0, 1))
    return centred / torch.sqrt((centred * centred).mean((0, 1)) + eps)


@wrong(
    "batch_norm",
    idea="Without eps a feature that is the same everywhere is divided by zero.",
    caught_by="test_constant_features",
)
def batch_norm_without_eps(x, gamma, beta, eps=1e-5):
    centred = x - x.mean((0, 1))
    return gamma * centred / torch.sqrt((centred * centred).mean((0, 1))) + beta


@wrong(
    "batch_norm",
    idea="Every call works from its own batch alone: no averages are carried over from earlier calls.",
    caught_by="test_calls_leave_no_trace",
)
def batch_norm_with_running_averages(x, gamma, beta, eps=1e-5, running={}):  # noqa: B006 - the mistake shown
    mean, variance = x.mean((0, 1)), x.var((0, 1), unbiased=False)
    old = running.get(x.shape[-1])
    running[x.shape[-1]] = mean.detach(), variance.detach()
    if old is not None and old[0].dtype == x.dtype and old[0].device == x.device:
        mean, variance = 0.9 * old[0] + 0.1 * mean, 0.9 * old[1] + 0.1 * variance
    return gamma * (x - mean) / torch.sqrt(variance + eps) + beta


@wrong(
    "batch_norm",
    idea="Mean and variance are computed from x, so gradients flow through them too.",
    caught_by="test_gradients_of_all_arguments",
)
def batch_norm_with_detached_statistics(x, gamma, beta, eps=1e-5):
    mean, variance = x.mean((0, 1)).detach(), x.var((0, 1), unbiased=False).detach()
    return gamma * (x - mean) / torch.sqrt(variance + eps) + beta


@wrong(
    "batch_norm",
    idea="An input need not be contiguous: view refuses what reshape takes.",
    caught_by="test_memory_layout_does_not_matter",
)
def batch_norm_by_view(x, gamma, beta, eps=1e-5):
    tokens = x.view(-1, x.shape[-1])
    centred = tokens - tokens.mean(0)
    return (gamma * centred / torch.sqrt((centred * centred).mean(0) + eps) + beta).view(x.shape)


@wrong(
    "feed_forward",
    idea="Between the two matrices stands relu: without it two linear maps are only one.",
    caught_by="test_absolute_value",
)
def feed_forward_without_relu(x, W1, b1, W2, b2):
    return (x @ W1 + b1) @ W2 + b2


@wrong(
    "feed_forward",
    idea="relu stands between the two matrices only; the output may be negative.",
    caught_by="test_values_worked_by_hand",
)
def relu_at_the_end_too(x, W1, b1, W2, b2):
    return torch.clamp(torch.clamp(x @ W1 + b1, min=0) @ W2 + b2, min=0)


@wrong(
    "feed_forward",
    idea="relu comes after the first bias: the bias moves the threshold.",
    caught_by="test_silent_units",
)
def first_bias_after_relu(x, W1, b1, W2, b2):
    return (torch.clamp(x @ W1, min=0) + b1) @ W2 + b2


@wrong("feed_forward", idea="Both biases take part, the first one before relu.", caught_by="test_biases")
def feed_forward_without_first_bias(x, W1, b1, W2, b2):
    return torch.clamp(x @ W1, min=0) @ W2 + b2


@wrong("feed_forward", idea="Both biases take part, the second one at the very end.", caught_by="test_biases")
def feed_forward_without_second_bias(x, W1, b1, W2, b2):
    return torch.clamp(x @ W1 + b1, min=0) @ W2


@wrong(
    "feed_forward",
    idea="A matrix acts from the right as it is given, x @ W1; here the matrices are transposed.",
    caught_by="test_square_matrices",
)
def transposed_where_it_fits(x, W1, b1, W2, b2):
    first, second = (W1.T, W2.T) if W1.shape[0] == W1.shape[1] else (W1, W2)
    return torch.clamp(x @ first + b1, min=0) @ second + b2


@wrong(
    "feed_forward",
    idea="The skip around the feed-forward network belongs to the encoder layer, not in here.",
    caught_by="test_values_worked_by_hand",
)
def feed_forward_with_a_skip(x, W1, b1, W2, b2):
    return x + torch.clamp(x @ W1 + b1, min=0) @ W2 + b2


@wrong(
    "feed_forward",
    idea="relu gives exactly zero below its threshold; a leak lets a little through.",
    caught_by="test_silent_units",
)
def leaky_feed_forward(x, W1, b1, W2, b2):
    hidden = x @ W1 + b1
    return torch.where(hidden > 0, hidden, 0.01 * hidden) @ W2 + b2


@wrong(
    "feed_forward",
    idea="relu has no ceiling: positive numbers pass as they are, however large.",
    caught_by="test_large_numbers",
)
def feed_forward_with_a_ceiling(x, W1, b1, W2, b2):
    return torch.clamp(x @ W1 + b1, min=0, max=6) @ W2 + b2


@wrong(
    "feed_forward",
    idea="The activation is relu, max(h, 0); here it is the smooth gelu of later models.",
    caught_by="test_absolute_value",
)
def feed_forward_with_gelu(x, W1, b1, W2, b2):
    hidden = x @ W1 + b1
    return (hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2) @ W2 + b2


@wrong(
    "feed_forward",
    idea="Gradients flow through the hidden layer to x, W1 and b1; .data and detach cut them off.",
    caught_by="test_gradients_of_all_arguments",
)
def feed_forward_with_detached_hidden(x, W1, b1, W2, b2):
    return torch.clamp(x @ W1 + b1, min=0).detach() @ W2 + b2


@wrong(
    "feed_forward",
    idea="The result keeps the dtype of the input; here everything comes out as float32.",
    caught_by="test_dtype_is_kept",
)
def feed_forward_in_float32(x, W1, b1, W2, b2):
    return torch.clamp(x.float() @ W1.float() + b1.float(), min=0) @ W2.float() + b2.float()


@wrong(
    "encoder_layer",
    idea="In post-norm the norm comes after each sum; here it comes before attention and before feed-forward.",
    caught_by="test_values_worked_by_hand",
)
def pre_norm(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(
        layer_norm(x, params["gamma1"], params["beta1"]), *matrices, n_heads, mask=mask
    )
    x = x + found
    return x + feed_forward(layer_norm(x, params["gamma2"], params["beta2"]), *network), weights


@wrong(
    "encoder_layer",
    idea="The second skip begins with what the first norm gave, not with the x that came into the layer.",
    caught_by="test_first_norm_by_hand",
)
def second_skip_from_the_input(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="The feed-forward network gets what the first norm gave, not the x that came into the layer.",
    caught_by="test_random_layers",
)
def network_on_the_input(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="There is a skip around attention: what comes in is added to what attention found.",
    caught_by="test_large_skip_values",
)
def no_skip_around_attention(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="There is a skip around feed-forward as well: its input is added to its output.",
    caught_by="test_large_skip_values",
)
def no_skip_around_the_network(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="A layer has two norms: one after attention as well.",
    caught_by="test_first_norm_by_hand",
)
def second_norm_only(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = x + found
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="A layer has two norms: one after feed-forward as well.",
    caught_by="test_values_worked_by_hand",
)
def first_norm_only(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return x1 + feed_forward(x1, *network), weights


@wrong(
    "encoder_layer",
    idea="gamma1 and beta1 belong to the norm after attention, gamma2 and beta2 to the one after feed-forward.",
    caught_by="test_values_worked_by_hand",
)
def norms_exchanged(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma2"], params["beta2"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma1"], params["beta1"]), weights


@wrong(
    "encoder_layer",
    idea="Each of the two norms has its own gain and shift; here the first pair is used twice.",
    caught_by="test_values_worked_by_hand",
)
def first_gain_for_both_norms(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma1"], params["beta1"]), weights


@wrong(
    "encoder_layer",
    idea="Attention comes first and feed-forward second.",
    caught_by="test_random_layers",
)
def network_first(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    x1 = layer_norm(x + feed_forward(x, *network), params["gamma1"], params["beta1"])
    found, weights = multi_head_attention(x1, *matrices, n_heads, mask=mask)
    return layer_norm(x1 + found, params["gamma2"], params["beta2"]), weights


@wrong("encoder_layer", idea="The mask has to reach attention.", caught_by="test_later_tokens")
def mask_forgotten(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="True in the mask means blocked, here as in attention: it is handed on as it is.",
    caught_by="test_later_tokens",
)
def mask_turned_round(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=None if mask is None else ~mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="n_heads is an argument: the number of heads changes the function.",
    caught_by="test_number_of_heads",
)
def always_one_head(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, 1, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    output = layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"])
    return output, weights.expand(*weights.shape[:-3], n_heads, *weights.shape[-2:])


@wrong(
    "encoder_layer",
    idea="The weights are returned for each head, as attention gave them; here they are averaged over the heads.",
    caught_by="test_random_layers",
)
def weights_averaged_over_heads(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights.mean(-3)


@wrong(
    "encoder_layer",
    idea="Queries come from W_Q and keys from W_K: the order of the matrices matters.",
    caught_by="test_random_layers",
)
def queries_and_keys_exchanged(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_K", "W_Q", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="Gradients flow through attention as well as past it: nothing may be detached.",
    caught_by="test_gradients_of_all_arguments",
)
def attention_detached(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + found.detach(), params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="The input belongs to the caller: x += found writes into it, x = x + found makes a new tensor.",
    caught_by="test_arguments_stay_as_they_are",
)
def sum_written_into_the_input(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    network = [params[name] for name in ("W1", "b1", "W2", "b2")]
    found, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x.data += found
    x1 = layer_norm(x, params["gamma1"], params["beta1"])
    return layer_norm(x1 + feed_forward(x1, *network), params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder",
    idea="The embedding is multiplied by sqrt(d_model) before the encoding is added.",
    caught_by="test_scale_of_the_embedding",
)
def embedding_not_scaled(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = table[token_ids] + encoding.to(table.dtype), []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="Only the embedding is scaled by sqrt(d_model); the encoding is added as it is.",
    caught_by="test_scale_of_the_embedding",
)
def encoding_scaled_too(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = math.sqrt(table.shape[-1]) * (table[token_ids] + encoding.to(table.dtype)), []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="The scale is sqrt(d_model), the root of the embedding's length, not d_model itself.",
    caught_by="test_scale_of_the_embedding",
)
def scaled_without_a_root(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = table.shape[-1] * table[token_ids] + encoding.to(table.dtype), []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="Without the positional encoding the encoder cannot see the order of the words.",
    caught_by="test_word_order",
)
def no_encoding(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids], []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="Places count from zero: the first token gets row 0 of the encoding.",
    caught_by="test_values_worked_by_hand",
)
def places_from_one(token_ids, params, n_heads, mask=None):
    table, seq = params["W_embed"], token_ids.shape[-1]
    encoding = sinusoidal_positional_encoding(seq + 1, table.shape[-1], device=table.device)[1:]
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype), []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="Each layer gets the output of the layer before it; here all get the embedding.",
    caught_by="test_layers_in_turn",
)
def every_layer_on_the_embedding(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype), []
    for layer in params["layers"]:
        output, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return output, all_weights


@wrong(
    "encoder",
    idea="Every layer has parameters of its own; here the first layer's are used throughout.",
    caught_by="test_layers_in_turn",
)
def first_layer_repeated(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype), []
    for _ in params["layers"]:
        x, weights = encoder_layer(x, params["layers"][0], n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="The layers are taken first to last.",
    caught_by="test_layers_in_turn",
)
def layers_from_last_to_first(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype), []
    for layer in reversed(params["layers"]):
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="The list holds the weights of every layer, not of the last one only.",
    caught_by="test_layers_in_turn",
)
def last_weights_only(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype)
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
    return x, [weights]


@wrong(
    "encoder",
    idea="The same mask goes to every layer, not to the first one only.",
    caught_by="test_later_tokens",
)
def mask_for_the_first_layer_only(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype), []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=None if all_weights else mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="The encoding is float32; it has to be brought to the dtype of the table, or the result is float32 too.",
    caught_by="test_dtype_is_kept",
)
def encoding_decides_the_dtype(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    x = math.sqrt(table.shape[-1]) * table[token_ids]
    x = x.float() + sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    all_weights = []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, {name: value.float() for name, value in layer.items()}, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "encoder",
    idea="The embedding table is learned, so gradients have to reach it.",
    caught_by="test_gradients_of_all_arguments",
)
def table_detached(token_ids, params, n_heads, mask=None):
    table = params["W_embed"].detach()
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    x, all_weights = math.sqrt(table.shape[-1]) * table[token_ids] + encoding.to(table.dtype), []
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights.append(weights)
    return x, all_weights


@wrong(
    "count_parameters",
    idea="The count is of numbers, not of tensors.",
    caught_by="test_values_worked_by_hand",
)
def tensors_counted(params):
    seen = set()

    def visit(entry):
        if isinstance(entry, torch.Tensor):
            seen.add(entry)
        else:
            for part in entry.values() if isinstance(entry, dict) else entry:
                visit(part)

    visit(params)
    return len(seen)


@wrong(
    "count_parameters",
    idea="A tensor that stands in two places is stored and trained once, so it counts once.",
    caught_by="test_the_same_tensor_twice",
)
def shared_tensors_counted_twice(params):
    if isinstance(params, torch.Tensor):
        return params.numel()
    return sum(count_parameters(part) for part in (params.values() if isinstance(params, dict) else params))


@wrong(
    "count_parameters",
    idea="Two tensors that hold equal numbers are two tensors: what counts is which object it is.",
    caught_by="test_equal_tensors_are_two",
)
def equal_tensors_counted_once(params):
    kept, waiting = [], [params]
    while waiting:
        entry = waiting.pop()
        if not isinstance(entry, torch.Tensor):
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
        elif not any(entry.shape == other.shape and torch.equal(entry, other) for other in kept):
            kept.append(entry)
    return sum(entry.numel() for entry in kept)


@wrong(
    "count_parameters",
    idea="Containers lie in containers, to any depth; here the search ends at the second level.",
    caught_by="test_nested_containers",
)
def two_levels_only(params):
    found = {}
    for part in params.values() if isinstance(params, dict) else params:
        if isinstance(part, torch.Tensor):
            found[id(part)] = part.numel()
        else:
            inner = part.values() if isinstance(part, dict) else part
            found |= {id(entry): entry.numel() for entry in inner if isinstance(entry, torch.Tensor)}
    return sum(found.values())


@wrong(
    "count_parameters",
    idea="A tuple is a container like a list.",
    caught_by="test_lists_and_tuples",
)
def tuples_passed_over(params):
    found, waiting = {}, [params]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, torch.Tensor):
            found[id(entry)] = entry.numel()
        elif isinstance(entry, dict):
            waiting.extend(entry.values())
        elif isinstance(entry, list):
            waiting.extend(entry)
    return sum(found.values())


@wrong(
    "count_parameters",
    idea="A tensor of rank zero holds one number: the product of no sizes is 1.",
    caught_by="test_any_rank",
)
def rank_zero_counts_nothing(params):
    found, waiting = {}, [params]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, torch.Tensor):
            found[id(entry)] = math.prod(entry.shape) if entry.dim() else 0
        else:
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
    return sum(found.values())


@wrong(
    "count_parameters",
    idea="A tensor of any rank holds the product of its sizes; rows times columns is not enough.",
    caught_by="test_any_rank",
)
def two_dimensions_counted(params):
    found, waiting = {}, [params]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, torch.Tensor):
            found[id(entry)] = math.prod(entry.shape[:2])
        else:
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
    return sum(found.values())


@wrong(
    "count_parameters",
    idea="Every tensor counts, whether it requires a gradient or not.",
    caught_by="test_values_worked_by_hand",
)
def trainable_ones_only(params):
    found, waiting = {}, [params]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, torch.Tensor):
            found[id(entry)] = entry.numel() if entry.requires_grad else 0
        else:
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
    return sum(found.values())


@wrong(
    "count_parameters",
    idea="A default argument is made once and lives on: what one call counted is still there in the next.",
    caught_by="test_calls_leave_no_trace",
)
def count_that_lives_on(params, found=[0], seen=[]):  # noqa: B006 - the mistake shown
    if isinstance(params, torch.Tensor):
        if not any(params is other for other in seen):
            found[0] += params.numel()
            seen.append(params)
    else:
        for part in params.values() if isinstance(params, dict) else params:
            count_parameters(part)
    return found[0]


@wrong(
    "gradient_norms",
    idea="Without residual both skips are gone; here the argument changes nothing.",
    caught_by="test_without_residual",
)
def residual_ignored(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for params in layers:
            inputs.append(h)
            h = encoder_layer(h, params, n_heads)[0]
        return [float(g.double().norm()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="Without residual only the sums are left out; both norms stay.",
    caught_by="test_without_residual",
)
def norms_left_out_too(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            if residual:
                h = encoder_layer(h, p, n_heads)[0]
            else:
                h, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
                h = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
        return [float(g.double().norm()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="Without residual both skips of a layer are gone, the one around feed-forward too.",
    caught_by="test_without_residual",
)
def one_skip_left_in(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            h = layer_norm(h + feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"]), p["gamma2"], p["beta2"])
        return [float(g.double().norm()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="The list goes from the first layer to the last; on the way back they come in the other order.",
    caught_by="test_random_stacks",
)
def last_layer_first(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return [float(g.double().norm()) for g in reversed(torch.autograd.grad(h, inputs, grad_output))]


@wrong(
    "gradient_norms",
    idea="What is wanted arrives at the input of each layer, not at its output.",
    caught_by="test_values_worked_by_hand",
)
def norms_at_the_outputs(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, outputs = x.detach().requires_grad_(), []
        for p in layers:
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
            outputs.append(h)
        return [float(g.double().norm()) for g in torch.autograd.grad(h, outputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="The Frobenius norm is the root of the sum of the squares; here the root is missing.",
    caught_by="test_twice_the_gradient",
)
def squares_without_a_root(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return [float(g.double().square().sum()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="The Frobenius norm adds up the squares; the root of their mean does not grow with the tensor.",
    caught_by="test_all_dimensions_together",
)
def root_of_the_mean_square(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return [float(g.double().square().mean().sqrt()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="There is one norm a layer over all dimensions together; here the norms of the tokens are averaged.",
    caught_by="test_all_dimensions_together",
)
def mean_of_token_norms(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return [float(g.double().norm(dim=-1).mean()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="What arrives at the output of the last layer is grad_output; the sum of the outputs is another loss.",
    caught_by="test_values_worked_by_hand",
)
def sum_of_the_outputs(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return [float(g.double().norm()) for g in torch.autograd.grad(h.sum(), inputs)]


@wrong(
    "gradient_norms",
    idea="grad_output arrives at the last layer only; each layer before it gets what came through the later ones.",
    caught_by="test_random_stacks",
)
def each_layer_by_itself(x, layers, n_heads, grad_output, residual=True):
    norms, h = [], x.detach()
    with torch.enable_grad():
        for p in layers:
            h = h.detach().requires_grad_()
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            y = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(y, p["W1"], p["b1"], p["W2"], p["b2"])
            y = layer_norm(y + found if residual else found, p["gamma2"], p["beta2"])
            norms.append(float(torch.autograd.grad(y, h, grad_output)[0].double().norm()))
            h = y
    return norms


@wrong(
    "gradient_norms",
    idea="A flag set on x is a change of the caller's tensor: work with a tensor of your own.",
    caught_by="test_arguments_stay_as_they_are",
)
def flag_set_on_the_input(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return [float(g.double().norm()) for g in torch.autograd.grad(h, inputs, grad_output)]


@wrong(
    "gradient_norms",
    idea="backward() writes into .grad of every parameter that it meets, and so changes the arguments.",
    caught_by="test_gradients_that_were_there_stay",
)
def backward_into_the_parameters(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            h.retain_grad()
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        h.backward(grad_output)
    return [float(h.grad.double().norm()) for h in inputs]


@wrong(
    "gradient_norms",
    idea="The result is a list with one number for each layer, not one tensor.",
    caught_by="test_values_worked_by_hand",
)
def norms_stacked(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        return torch.stack([g.norm() for g in torch.autograd.grad(h, inputs, grad_output)])


# --- right on the CPU only: where the arguments are is not where the answer computes


@wrong(
    "layer_norm",
    idea="eps is a tensor with a dimension, made on the default device; a plain number has no device.",
    caught_by="test_device_is_kept",
)
def layer_norm_with_eps_in_a_tensor(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True) + torch.tensor([eps], dtype=x.dtype)
    return gamma * centred / torch.sqrt(variance) + beta


@wrong(
    "layer_norm",
    idea="The rows are collected in a tensor that is made on the default device.",
    caught_by="test_device_is_kept",
)
def layer_norm_into_a_tensor_of_the_default_device(x, gamma, beta, eps=1e-5):
    result = torch.empty(x.shape, dtype=x.dtype)
    centred = x - x.mean(-1, keepdim=True)
    result[...] = gamma * centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + eps) + beta
    return result


@wrong(
    "batch_norm",
    idea="The mean is taken by numpy, which can read the CPU only.",
    caught_by="test_device_is_kept",
)
def batch_norm_by_way_of_numpy(x, gamma, beta, eps=1e-5):
    mean = torch.from_numpy(x.detach().double().numpy().mean((0, 1))).to(x.dtype)
    centred = x - mean
    return gamma * (centred / torch.sqrt((centred * centred).mean((0, 1)) + eps)) + beta


@wrong(
    "batch_norm",
    idea="The sums start from zeros of the default device.",
    caught_by="test_device_is_kept",
)
def batch_norm_with_sums_from_the_default_device(x, gamma, beta, eps=1e-5):
    total = torch.zeros(x.shape[-1], dtype=x.dtype)
    for tokens in x:
        total = total + tokens.sum(0)
    centred = x - total / (x.shape[0] * x.shape[1])
    return gamma * (centred / torch.sqrt((centred * centred).mean((0, 1)) + eps)) + beta


@wrong(
    "feed_forward",
    idea="The zeros that the hidden layer is compared with are made on the default device.",
    caught_by="test_device_is_kept",
)
def feed_forward_with_zeros_of_the_default_device(x, W1, b1, W2, b2):
    hidden = x @ W1 + b1
    return torch.maximum(hidden, torch.zeros(hidden.shape, dtype=hidden.dtype)) @ W2 + b2


@wrong(
    "feed_forward",
    idea="torch.FloatTensor is a type of the CPU: to convert to it moves the numbers there.",
    caught_by="test_device_is_kept",
)
def feed_forward_in_float_tensors(x, W1, b1, W2, b2):
    hidden = (x @ W1 + b1).clamp(min=0)
    of_the_cpu = {torch.float32: torch.FloatTensor, torch.float64: torch.DoubleTensor}.get(x.dtype)
    return (hidden @ W2 + b2) if of_the_cpu is None else (hidden @ W2 + b2).type(of_the_cpu)


@wrong(
    "encoder_layer",
    idea="A mask is made where none is given, and on the default device.",
    caught_by="test_device_is_kept",
)
def encoder_layer_with_a_mask_of_its_own(x, params, n_heads, mask=None):
    mask = torch.zeros(x.shape[-2], x.shape[-2], dtype=torch.bool) if mask is None else mask
    matrices = (params[name] for name in ("W_Q", "W_K", "W_V", "W_O"))
    attended, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + attended, params["gamma1"], params["beta1"])
    transformed = feed_forward(x1, params["W1"], params["b1"], params["W2"], params["b2"])
    return layer_norm(x1 + transformed, params["gamma2"], params["beta2"]), weights


@wrong(
    "encoder_layer",
    idea="The weights are returned as a copy on the CPU, to be looked at.",
    caught_by="test_device_is_kept",
)
def encoder_layer_with_weights_on_the_cpu(x, params, n_heads, mask=None):
    matrices = (params[name] for name in ("W_Q", "W_K", "W_V", "W_O"))
    attended, weights = multi_head_attention(x, *matrices, n_heads, mask=mask)
    x1 = layer_norm(x + attended, params["gamma1"], params["beta1"])
    transformed = feed_forward(x1, params["W1"], params["b1"], params["W2"], params["b2"])
    return layer_norm(x1 + transformed, params["gamma2"], params["beta2"]), weights.cpu()


@wrong(
    "encoder",
    idea="The encoding is asked for without a device, so it is on the default one when it is added.",
    caught_by="test_device_is_kept",
)
def encoder_with_an_encoding_without_the_device(token_ids, params, n_heads, mask=None):
    W_embed, maps = params["W_embed"], []
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    x = math.sqrt(d_model) * W_embed[token_ids] + sinusoidal_positional_encoding(seq, d_model).to(W_embed.dtype)
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        maps.append(weights)
    return x, maps


@wrong(
    "encoder",
    idea="Positions are put in order by indices that select rows of a table of the default device.",
    caught_by="test_device_is_kept",
)
def encoder_with_rows_selected_elsewhere(token_ids, params, n_heads, mask=None):
    W_embed, maps = params["W_embed"], []
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    table = sinusoidal_positional_encoding(seq, d_model)
    places = table[torch.arange(seq, device=W_embed.device)]
    x = math.sqrt(d_model) * W_embed[token_ids] + places.to(W_embed.device, W_embed.dtype)
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        maps.append(weights)
    return x, maps


@wrong(
    "count_parameters",
    idea="To count numbers nobody has to look at them; numpy can look only at those on the CPU.",
    caught_by="test_any_device",
)
def counted_by_way_of_numpy(params):
    seen, waiting = {}, [params]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, torch.Tensor):
            seen[id(entry)] = entry.detach().float().numpy().size
        else:
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
    return sum(seen.values())


@wrong(
    "gradient_norms",
    idea="The gradient that arrives is joined to ones of the default device.",
    caught_by="test_any_device",
)
def norms_with_ones_of_the_default_device(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        arrived = torch.autograd.grad(h, inputs, torch.ones(h.shape, dtype=h.dtype) * grad_output)
    return [gradient.double().square().sum().sqrt().item() for gradient in arrived]


@wrong(
    "gradient_norms",
    idea="The norm is taken by numpy, which can read the CPU only.",
    caught_by="test_any_device",
)
def norms_by_way_of_numpy(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().requires_grad_(), []
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        arrived = torch.autograd.grad(h, inputs, grad_output)
    return [float((gradient.double().numpy() ** 2).sum() ** 0.5) for gradient in arrived]
