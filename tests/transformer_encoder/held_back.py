"""Wrong answers to lesson 4 that are not in the bank: what diagnosis makes of them is measured.

`of` names the misconception that each is a case of, written in another way; "" where the bank has no such idea.
"""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import held_back


@held_back("layer_norm", of="unbiased_layer_norm")
def std_of_torch(x, gamma, beta, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    n = x.shape[-1]
    variance = (x - mean).square().sum(-1, keepdim=True) / (n - 1)
    return (x - mean) * torch.rsqrt(variance + eps) * gamma + beta


@held_back("layer_norm", of="layer_norm_with_eps_outside")
def eps_beside_the_root(x, gamma, beta, eps=1e-5):
    mean, std = x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True, correction=0)
    return (x - mean) / (std + eps) * gamma + beta


@held_back("layer_norm", of="layer_norm_without_gamma_and_beta")
def normalised_only(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


@held_back("layer_norm", of="")
def gamma_and_beta_exchanged(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return beta * (x - mean) / (variance + eps).sqrt() + gamma


@held_back("batch_norm", of="layer_norm_for_batch_norm")
def per_token(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=2, correction=0, keepdim=True)
    return gamma * (x - mean) * torch.rsqrt(variance + eps) + beta


@held_back("batch_norm", of="batch_norm_over_batch_only")
def first_dimension_only(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(0)
    return gamma * centred / (centred.pow(2).mean(0) + eps).sqrt() + beta


@held_back("feed_forward", of="feed_forward_without_relu")
def two_linear_maps(x, W1, b1, W2, b2):
    h = torch.einsum("...i,ij->...j", x, W1) + b1
    return torch.einsum("...i,ij->...j", h, W2) + b2


@held_back("feed_forward", of="first_bias_after_relu")
def bias_too_late(x, W1, b1, W2, b2):
    h = x @ W1
    h = torch.where(h > 0, h, torch.zeros_like(h)) + b1
    return h @ W2 + b2


@held_back("feed_forward", of="")
def absolute_value_instead(x, W1, b1, W2, b2):
    return (x @ W1 + b1).abs() @ W2 + b2


@held_back("encoder_layer", of="pre_norm")
def norms_in_front(x, params, n_heads, mask=None):
    p = params
    y = layer_norm(x, p["gamma1"], p["beta1"])
    attended, weights = multi_head_attention(y, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads, mask)
    x = x + attended
    y = layer_norm(x, p["gamma2"], p["beta2"])
    return x + feed_forward(y, p["W1"], p["b1"], p["W2"], p["b2"]), weights


@held_back("encoder_layer", of="second_skip_from_the_input")
def both_skips_from_x(x, params, n_heads, mask=None):
    p = params
    found, weights = multi_head_attention(x, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads, mask=mask)
    first = layer_norm(found + x, p["gamma1"], p["beta1"])
    second = feed_forward(first, p["W1"], p["b1"], p["W2"], p["b2"])
    return layer_norm(second + x, p["gamma2"], p["beta2"]), weights


@held_back("encoder_layer", of="mask_forgotten")
def all_may_look(x, params, n_heads, mask=None):
    matrices = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    found, weights = multi_head_attention(x, *matrices, n_heads)
    x = layer_norm(x + found, params["gamma1"], params["beta1"])
    network = feed_forward(x, *[params[name] for name in ("W1", "b1", "W2", "b2")])
    return layer_norm(x + network, params["gamma2"], params["beta2"]), weights


@held_back("encoder", of="embedding_not_scaled")
def plain_lookup(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    places = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[-1], device=table.device)
    h, maps = table[token_ids] + places.to(table.dtype), []
    for layer in params["layers"]:
        h, weights = encoder_layer(h, layer, n_heads, mask)
        maps.append(weights)
    return h, maps


@held_back("encoder", of="no_encoding")
def bag_of_words(token_ids, params, n_heads, mask=None):
    table, maps = params["W_embed"], []
    h = table[token_ids] * math.sqrt(table.shape[1])
    for layer in params["layers"]:
        h, weights = encoder_layer(h, layer, n_heads=n_heads, mask=mask)
        maps += [weights]
    return h, maps


@held_back("count_parameters", of="shared_tensors_counted_twice")
def plain_recursion(params):
    if isinstance(params, torch.Tensor):
        return params.numel()
    return sum(count_parameters(each) for each in (params.values() if isinstance(params, dict) else params))


@held_back("count_parameters", of="tensors_counted")
def number_of_leaves(params):
    waiting, seen = [params], set()
    while waiting:
        each = waiting.pop()
        if torch.is_tensor(each):
            seen.add(id(each))
        else:
            waiting += list(each.values()) if isinstance(each, dict) else list(each)
    return len(seen)


@held_back("gradient_norms", of="residual_ignored")
def always_with_skips(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        states = [x.detach().clone().requires_grad_()]
        for layer in layers:
            states.append(encoder_layer(states[-1], layer, n_heads)[0])
        found = torch.autograd.grad(states[-1], states[:-1], grad_output)
    return [gradient.double().norm().item() for gradient in found]


@held_back("gradient_norms", of="last_layer_first")
def in_the_order_of_the_way_back(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        states = [x.detach().clone().requires_grad_()]
        for p in layers:
            h = states[-1]
            found = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)[0]
            h = layer_norm(found + h * residual, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            states.append(layer_norm(found + h * residual, p["gamma2"], p["beta2"]))
        arrived = torch.autograd.grad(states[-1], states[:-1], grad_output)
    return [gradient.double().norm().item() for gradient in arrived][::-1]
