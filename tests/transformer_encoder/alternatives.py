"""Right answers to lesson 4, written in other ways than the model's: its suites must pass each of them."""

# ruff: noqa: F821 - an answer may call the lesson's other exercises, which are bound beside it
import math

import torch

from autograder.misconception import right


@right("layer_norm", how="torch's own biased variance, and the reciprocal of the root")
def layer_norm_by_rsqrt(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, unbiased=False, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps) * gamma + beta


@right("layer_norm", how="in float64, and back to the type of the input at the end")
def layer_norm_in_float64(x, gamma, beta, eps=1e-5):
    wide = x.double()
    centred = wide - wide.sum(-1, keepdim=True) / x.size(-1)
    scale = centred.pow(2).sum(-1, keepdim=True).div(x.size(-1)).add(eps).pow(-0.5)
    return (centred * scale * gamma.double() + beta.double()).to(x.dtype)


@right("layer_norm", how="a projection matrix takes the mean away, einsum sums the squares")
def layer_norm_by_projection(x, gamma, beta, eps=1e-5):
    n = x.shape[-1]
    centring = torch.eye(n, dtype=x.dtype, device=x.device) - 1 / n
    centred = x @ centring
    variance = torch.einsum("...i,...i->...", centred, centred).unsqueeze(-1) / n
    return torch.addcmul(beta, centred / (variance + eps) ** 0.5, gamma)


@right("layer_norm", how="token by token in a loop")
def layer_norm_in_a_loop(x, gamma, beta, eps=1e-5):
    rows = []
    for token in x.reshape(-1, x.shape[-1]):
        rest = token - token.mean()
        rows.append(rest / (rest.square().mean() + eps).sqrt() * gamma + beta)
    return torch.stack(rows).reshape(x.shape)


@right("layer_norm", how="with a backward of its own")
def layer_norm_with_its_own_backward(x, gamma, beta, eps=1e-5):
    class Normalise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, eps):
            centred = x - x.mean(-1, keepdim=True)
            root = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
            ctx.save_for_backward(centred / root, root)
            return centred / root

        @staticmethod
        def backward(ctx, gradient):
            y, root = ctx.saved_tensors
            along = (gradient * y).mean(-1, keepdim=True)
            return (gradient - gradient.mean(-1, keepdim=True) - y * along) / root, None

    return gamma * Normalise.apply(x, eps) + beta


@right("batch_norm", how="as a table of tokens, with torch's own biased variance")
def batch_norm_of_a_table(x, gamma, beta, eps=1e-5):
    tokens = x.reshape(-1, x.shape[-1])
    variance, mean = torch.var_mean(tokens, dim=0, unbiased=False)
    return ((tokens - mean) * torch.rsqrt(variance + eps) * gamma + beta).reshape(x.shape)


@right("batch_norm", how="feature by feature in a loop")
def batch_norm_in_a_loop(x, gamma, beta, eps=1e-5):
    features = []
    for j in range(x.shape[-1]):
        rest = x[..., j] - x[..., j].mean()
        features.append(rest / (rest.square().mean() + eps).sqrt() * gamma[j] + beta[j])
    return torch.stack(features, dim=-1)


@right("batch_norm", how="layer_norm of the transposed table, half types in float32 on the way")
def batch_norm_by_layer_norm(x, gamma, beta, eps=1e-5):
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    features = wide.permute(2, 0, 1).flatten(1)  # (d_model, batch * seq)
    ones, zeros = torch.ones_like(features[0]), torch.zeros_like(features[0])
    normal = layer_norm(features, ones, zeros, eps=eps).unflatten(1, x.shape[:2]).permute(1, 2, 0)
    return (normal * gamma + beta).to(x.dtype)


@right("batch_norm", how="by einsum")
def batch_norm_by_einsum(x, gamma, beta, eps=1e-5):
    count = x.shape[0] * x.shape[1]
    centred = x - torch.einsum("bsd->d", x) / count
    variance = torch.einsum("bsd,bsd->d", centred, centred) / count
    return torch.einsum("bsd,d->bsd", centred, gamma / (variance + eps).sqrt()) + beta


@right("feed_forward", how="relu by where")
def feed_forward_by_where(x, W1, b1, W2, b2):
    hidden = x @ W1 + b1
    return torch.where(hidden > 0, hidden, torch.zeros_like(hidden)) @ W2 + b2


@right("feed_forward", how="relu by maximum, products by einsum")
def feed_forward_by_maximum(x, W1, b1, W2, b2):
    hidden = torch.einsum("...i,ij->...j", x, W1) + b1
    return torch.einsum("...i,ij->...j", torch.maximum(hidden, hidden.new_zeros(())), W2) + b2


@right("feed_forward", how="relu as a product with a comparison")
def feed_forward_by_comparison(x, W1, b1, W2, b2):
    hidden = torch.matmul(x, W1).add(b1)
    return torch.matmul(hidden * (hidden > 0).to(hidden.dtype), W2).add(b2)


@right("feed_forward", how="relu in place on its own hidden layer")
def feed_forward_by_indexing(x, W1, b1, W2, b2):
    hidden = x @ W1 + b1
    hidden[hidden < 0] = 0
    return hidden @ W2 + b2


@right("feed_forward", how="half of a number and its absolute value, one hidden unit after the other")
def feed_forward_unit_by_unit(x, W1, b1, W2, b2):
    output = b2.expand(x.shape)
    for unit in range(W1.shape[1]):
        h = (x * W1[:, unit]).sum(-1, keepdim=True) + b1[unit]
        output = output + (h + h.abs()) / 2 * W2[unit]
    return output


@right("encoder_layer", how="heads in a loop, norms and feed-forward written out")
def layer_head_by_head(x, params, n_heads, mask=None):
    def norm(y, gamma, beta):
        y = y - y.mean(-1, keepdim=True)
        return y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gamma + beta

    d_head = x.shape[-1] // n_heads
    if mask is not None:
        mask = mask.expand(*x.shape[:-2], n_heads, x.shape[-2], x.shape[-2])
    found, weights = torch.zeros_like(x), []
    for head in range(n_heads):
        columns = slice(head * d_head, (head + 1) * d_head)
        Q, K, V = (x @ params[name][:, columns] for name in ("W_Q", "W_K", "W_V"))
        scores = Q @ K.transpose(-1, -2) / d_head**0.5
        if mask is not None:
            scores = torch.where(mask[..., head, :, :], -math.inf, scores)
        weights.append(softmax(scores))
        found = found + weights[-1] @ V @ params["W_O"][columns]
    x1 = norm(x + found, params["gamma1"], params["beta1"])
    hidden = (x1 @ params["W1"] + params["b1"]).clamp(min=0)
    output = norm(x1 + hidden @ params["W2"] + params["b2"], params["gamma2"], params["beta2"])
    return output, torch.stack(weights, dim=-3)


@right("encoder_layer", how="attention by einsum, parameters unpacked by name")
def layer_by_einsum(x, params, n_heads, mask=None):
    def heads(W):
        return torch.einsum("...sd,dhk->...hsk", x, W.reshape(W.shape[0], n_heads, -1))

    Q, K, V = heads(params["W_Q"]), heads(params["W_K"]), heads(params["W_V"])
    scores = torch.einsum("...qk,...pk->...qp", Q, K) * K.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    W_O = params["W_O"].reshape(n_heads, -1, x.shape[-1])
    found = torch.einsum("...hsk,hkd->...sd", torch.einsum("...qp,...pk->...qk", weights, V), W_O)
    x1 = layer_norm(x + found, params["gamma1"], params["beta1"])
    thought = feed_forward(x1, *(params[name] for name in ("W1", "b1", "W2", "b2")))
    return layer_norm(thought + x1, params["gamma2"], params["beta2"]), weights


@right("encoder_layer", how="half types in float32 on the way")
def layer_in_float32(x, params, n_heads, mask=None):
    narrow = x.dtype in (torch.float16, torch.bfloat16)
    wide = {name: value.float() if narrow else value for name, value in params.items()}
    found, weights = multi_head_attention(
        x.float() if narrow else x, *(wide[name] for name in ("W_Q", "W_K", "W_V", "W_O")), n_heads, mask
    )
    x1 = layer_norm(x + found, wide["gamma1"], wide["beta1"])
    thought = feed_forward(x1, wide["W1"], wide["b1"], wide["W2"], wide["b2"])
    return layer_norm(x1 + thought, wide["gamma2"], wide["beta2"]).to(x.dtype), weights.to(x.dtype)


@right("encoder", how="an encoding of its own, in float32 by exp and log")
def encoder_with_its_own_encoding(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    seq, d_model = token_ids.shape[-1], table.shape[-1]
    place = torch.arange(seq, dtype=torch.float32, device=table.device).unsqueeze(1)
    even = torch.arange(0, d_model, 2, dtype=torch.float32, device=table.device)
    angle = place * torch.exp(even * (-math.log(10000.0) / d_model))
    encoding = torch.zeros(seq, d_model, dtype=torch.float32, device=table.device)
    encoding[:, 0::2] = torch.sin(angle)
    encoding[:, 1::2] = torch.cos(angle[:, : d_model // 2])
    x, all_weights = table[token_ids] * d_model**0.5 + encoding.to(table.dtype), ()
    for layer in params["layers"]:
        x, weights = encoder_layer(x, layer, n_heads, mask=mask)
        all_weights += (weights,)
    return x, all_weights


@right("encoder", how="an encoding in float64, embedding by a product with ones and zeros, layers by recursion")
def encoder_by_recursion(token_ids, params, n_heads, mask=None):
    table = params["W_embed"]
    vocabulary, d_model = table.shape
    chosen = (token_ids.unsqueeze(-1) == torch.arange(vocabulary, device=table.device)).to(table.dtype)
    column = torch.arange(d_model, device=table.device)
    place = torch.arange(token_ids.shape[-1], dtype=torch.float64, device=table.device).unsqueeze(1)
    angle = place / 10000 ** ((column - column % 2).double() / d_model)
    encoding = torch.where(column % 2 == 0, angle.sin(), angle.cos()).to(table.dtype)

    def climb(x, layers):
        if not layers:
            return x, []
        x, weights = encoder_layer(x, layers[0], n_heads, mask=mask)
        x, rest = climb(x, layers[1:])
        return x, [weights, *rest]

    return climb(chosen @ table * math.sqrt(d_model) + encoding, params["layers"])


@right("encoder", how="embedding by index_select, the encoding given")
def encoder_by_index_select(token_ids, params, n_heads, mask=None):
    table, layers = params["W_embed"], params["layers"]
    rows = table.index_select(0, token_ids.reshape(-1)).reshape(*token_ids.shape, table.shape[1])
    encoding = sinusoidal_positional_encoding(token_ids.shape[-1], table.shape[1], table.device)
    x = rows * torch.tensor(table.shape[1], dtype=table.dtype, device=table.device).sqrt() + encoding.type_as(rows)
    weights = [None] * len(layers)
    for i in range(len(layers)):
        x, weights[i] = encoder_layer(x, layers[i], n_heads=n_heads, mask=mask)
    return x, weights


@right("count_parameters", how="recursion with a set of what was seen")
def count_by_recursion(params):
    seen = set()

    def visit(entry):
        if isinstance(entry, dict):
            return sum(visit(part) for part in entry.values())
        if isinstance(entry, (list, tuple)):
            return sum(map(visit, entry))
        if entry in seen:  # tensors hash by identity, and a set asks `is` before `==`
            return 0
        seen.add(entry)
        return math.prod(entry.shape)

    return visit(params)


@right("count_parameters", how="a flat list of all tensors first, then a comparison of objects")
def count_of_a_flat_list(params):
    def flat(entry):
        if torch.is_tensor(entry):
            yield entry
        else:
            for part in entry.values() if hasattr(entry, "values") else entry:
                yield from flat(part)

    distinct = []
    for tensor in flat(params):
        if all(tensor is not other for other in distinct):
            distinct.append(tensor)
    return torch.tensor(sum(tensor.nelement() for tensor in distinct))


@right("gradient_norms", how="one layer after the other backwards, the chain rule by hand")
def norms_layer_by_layer(x, layers, n_heads, grad_output, residual=True):
    def run(h, p):
        found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
        h = layer_norm(found + h if residual else found, p["gamma1"], p["beta1"])
        found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
        return layer_norm(found + h if residual else found, p["gamma2"], p["beta2"])

    states = [x.detach()]
    with torch.no_grad():
        for layer in layers[:-1]:
            states.append(run(states[-1], layer))
    gradient, norms = grad_output, []
    with torch.enable_grad():
        for state, layer in zip(reversed(states), reversed(layers), strict=True):
            state = state.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(run(state, layer), state, gradient)
            norms.insert(0, gradient.norm().item())
    return norms


@right("gradient_norms", how="backward on copies of everything, with retained gradients; tensors of rank 0")
def norms_by_backward(x, layers, n_heads, grad_output, residual=True):
    with torch.enable_grad():
        h, inputs = x.detach().clone().requires_grad_(True), []
        for layer in layers:
            p = {name: value.detach().clone() for name, value in layer.items()}
            h.retain_grad()
            inputs.append(h)
            skip = 1.0 if residual else 0.0
            h = layer_norm(
                skip * h + multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)[0],
                p["gamma1"],
                p["beta1"],
            )
            h = layer_norm(skip * h + feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"]), p["gamma2"], p["beta2"])
        h.backward(gradient=grad_output.detach().clone())
    return tuple(state.grad.float().square().sum().sqrt() for state in inputs)


@right("gradient_norms", how="a hook on the input of each layer writes the norms down")
def norms_by_hooks(x, layers, n_heads, grad_output, residual=True):
    norms = [0.0] * len(layers)

    def write_down(i):
        def hook(gradient):
            norms[i] = torch.linalg.vector_norm(gradient.double()).item()

        return hook

    with torch.enable_grad():
        start = x.detach().clone().requires_grad_()
        h = start
        for i, p in enumerate(layers):
            h.register_hook(write_down(i))
            found = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)[0]
            h = layer_norm(torch.add(h, found) if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(torch.add(h, found) if residual else found, p["gamma2"], p["beta2"])
        torch.autograd.grad(h, start, grad_output)
    return norms
