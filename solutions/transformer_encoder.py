# %% [markdown]
# # 4 · The Transformer encoder
#
# include: badge
#
# Attention lets tokens talk to each other, and the positional encoding tells them where they sit. One layer of that is
# not yet a Transformer. Stack six, twelve or ninety-six of them naively and nothing can be learned: on its way back
# the gradient is lost, numbers drift out of range, and all tokens end as copies of one another. This lesson is about
# what holds the tower up.
#
# **What you will have built at the end:** a complete Transformer encoder from raw tensor operations, the one of
# *Attention Is All You Need* (Vaswani et al., 2017): layer norm, feed-forward network, residual connections, a stack
# of N layers on top of embedding and positional encoding. You will have trained it to write words backwards, looked
# into each of its heads, counted its parameters, and measured what its gradients do with and without the residual
# connections.
#
# | exercise | stars | minutes | points |
# | --- | --- | --- | --- |
# | 1 · `layer_norm` | ★★☆ | 8 | 15 |
# | 2 · `batch_norm` | ★☆☆ | 6 | 10 |
# | 3 · `feed_forward` | ★☆☆ | 6 | 10 |
# | 4 · `encoder_layer` | ★★☆ | 10 | 20 |
# | 5 · `encoder` | ★★☆ | 8 | 15 |
# | 6 · `count_parameters` | ★★☆ | 8 | 5 |
# | 7 · `gradient_norms` | ★★★ | 14 | 15 |
# | 8 · `why_residual`, in words | ★★☆ | 8 | 10 |
#
# Together about 70 minutes, and some 15 more for reading and looking. You need lessons 1 and 3, Python, and the idea
# of a derivative. A CPU is enough.

# %%
import math

import matplotlib.pyplot as plt
import torch

# %%
# include: _toolbox.py

# %% [markdown]
# ## How this notebook works
#
# As in the lessons before: each exercise has a heading with its difficulty and the minutes it may take, hints that
# unfold one by one, a **stub** whose `raise NotImplementedError` you replace, a cell of **visible checks** that says
# what it wanted and what it got, and a picture drawn by *your* code. An open stub breaks nothing. Where it says
# **Predict, then run**, write down your guess first.
#
# ## What the grader looks at
#
# Hidden tests run your functions on other numbers and shapes. They check nothing that is not written here or at the
# exercise. For **every** exercise:
#
# - Tensors may have any number of leading batch dimensions, none included: `(..., seq, d_model)`. Only `batch_norm`
#   asks for exactly three dimensions. Any size may be 1 or odd. Large numbers are as welcome as small ones.
# - An input need not be contiguous in memory.
# - The result has the dtype of the input, be it float16, bfloat16, float32 or float64, and
#   is as accurate as that dtype lets the formula be.
#   Half-precision tests use numbers for which no step of the plain formula overflows.
# - The result is on the device of the input, so nothing may be created on a fixed device.
# - No argument is changed: not its numbers, not its `requires_grad`, not its `.grad`.
# - Gradients flow to every tensor argument of floating type, and they are the gradients of the formula.
# - The result depends on the arguments alone: not on torch's default dtype, the random seed or an earlier call, nor on
#   the grad mode where no gradient is needed. A call leaves all of these as they were.
# - A `mask` is boolean and True means *blocked*, as in `nn.MultiheadAttention` (`F.scaled_dot_product_attention` has
#   it the other way round). It broadcasts to the scores `(..., n_heads, seq, seq)` by torch's rule and nothing more,
#   so one mask for each batch element has the shape `(batch, 1, seq, seq)`.
# - A query that may attend to nothing gets attention weights of exactly zero, and what attention adds to it is exactly
#   zero. So are the gradients through them, never NaN.
# - Within a call all floating tensors have one dtype and one device, and the tensors that have leading dimensions
#   share them.
#
# **From scratch.** Raw tensor operations only. Not allowed in what your exercises run: `torch.nn`,
# `torch.nn.functional`, and softmax, log-softmax, attention, layer, batch, group, instance or RMS norm, relu,
# threshold and embedding lookup as ready-made operators, under any name or spelling. Sums, means, `exp`, `sqrt`, `@`,
# indexing, `clamp`, `maximum` and `where` are the raw ways. Forbidden use costs the whole exercise that it is in, and
# nothing else. Outside the exercises do as you please.
#
# Ready to use, because you have built them before: `softmax`, `scaled_dot_product_attention`, `multi_head_attention`
# (lesson 1) and `sinusoidal_positional_encoding` (lesson 3). Run the next two cells.


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "given_attention", "locked": true, "schema_version": 3, "solution": false, "task": false}
def softmax(x, dim=-1):
    """Softmax of x along dim, as in lesson 1: stable, and zeros where a slice is -inf throughout."""
    peak = x.detach().amax(dim=dim, keepdim=True)
    powers = torch.exp(x - peak.masked_fill(peak == -math.inf, 0.0))
    total = powers.sum(dim=dim, keepdim=True)
    return powers / total.masked_fill(total == 0, 1.0)


def scaled_dot_product_attention(Q, K, V, mask=None):
    """(output, weights) of Q (..., n, d_k), K (..., m, d_k), V (..., m, d_v), as in lesson 1; True in mask blocks."""
    logits = Q @ K.transpose(-2, -1) / math.sqrt(K.shape[-1])  # (..., n, m)
    attention = softmax(logits if mask is None else logits.masked_fill(mask, -math.inf))
    return attention @ V, attention


def multi_head_attention(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    """(output (..., seq, d_model), weights (..., n_heads, seq, seq)) of X (..., seq, d_model), as in lesson 1."""
    d_model = W_Q.shape[-1]
    if d_model % n_heads:
        raise ValueError(f"d_model = {d_model} is not divisible by n_heads = {n_heads}")

    def by_head(Y):
        return Y.unflatten(-1, (n_heads, d_model // n_heads)).transpose(-3, -2)  # (..., n_heads, seq, d_head)

    heads, attention = scaled_dot_product_attention(by_head(X @ W_Q), by_head(X @ W_K), by_head(X @ W_V), mask=mask)
    return heads.transpose(-3, -2).flatten(-2) @ W_O, attention


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "given_positions", "locked": true, "schema_version": 3, "solution": false, "task": false}
def sinusoidal_positional_encoding(max_len, d_model, device=None):
    """float32 (max_len, d_model), sines in even columns and cosines in odd ones, as in lesson 3."""
    place = torch.arange(max_len, dtype=torch.float64, device=device).unsqueeze(-1)
    column = torch.arange(d_model, device=device)
    phase = place / 10000.0 ** ((column - column % 2).double() / d_model)  # (max_len, d_model)
    return torch.where(column % 2 == 0, phase.sin(), phase.cos()).float()


def new_layer(d_model, d_ff, generator, scale=1.0, dtype=torch.float32):
    """Fresh parameters of one encoder layer: random matrices with variance scale^2 / rows, norms and biases neutral."""

    def matrix(rows, columns):
        return scale * torch.randn(rows, columns, generator=generator, dtype=dtype) / math.sqrt(rows)

    ones, zeros = torch.ones(d_model, dtype=dtype), torch.zeros(d_model, dtype=dtype)
    return {
        "W_Q": matrix(d_model, d_model),
        "W_K": matrix(d_model, d_model),
        "W_V": matrix(d_model, d_model),
        "W_O": matrix(d_model, d_model),
        "gamma1": ones.clone(),
        "beta1": zeros.clone(),
        "W1": matrix(d_model, d_ff),
        "b1": torch.zeros(d_ff, dtype=dtype),
        "W2": matrix(d_ff, d_model),
        "b2": zeros.clone(),
        "gamma2": ones.clone(),
        "beta2": zeros.clone(),
    }


# %% [markdown]
# ## The whole thing on one page
#
# Read the picture from bottom to top. On the left the encoder; on the right one of its N layers, opened. The vertical
# line is the *stream*: a tensor `x` of shape `(..., seq, d_model)`, one vector for each token. Two blocks read from it
# and *add* what they found: attention, where tokens exchange information, and the feed-forward network, where each
# token thinks for itself. After each addition stands a layer norm.

# %%
with picture(
    "map",
    alt="Diagram of the encoder, from below. Left: token ids, embedding times root d_model plus positional encoding, "
    "then N layers, then the output. Right: one layer. The input x goes through multi-head attention and past it; "
    "both meet in a sum, followed by layer norm; then the same with the feed-forward network and a second layer "
    "norm.",
):

    def box(ax, x, y, text, color, width=2.6):
        ax.text(x, y, text, ha="center", va="center", zorder=3)
        ax.add_patch(
            plt.Rectangle((x - width / 2, y - 0.32), width, 0.64, facecolor=color + "55", edgecolor=color, lw=1.5)
        )

    def arrow(ax, *points):
        for a, b in zip(points[:-2], points[1:-1]):
            ax.plot([a[0], b[0]], [a[1], b[1]], color="black", lw=1.3, zorder=1)
        ax.annotate("", xy=points[-1], xytext=points[-2], arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.3})

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 6))
    for ax, title in ((left, "the encoder"), (right, "one layer (post-norm)")):
        ax.set(xlim=(-2.4, 2.6), ylim=(-0.6, 8.4), title=title)
        ax.axis("off")
    column = (
        (0, "token_ids  (..., seq)", "#999999"),
        (1.4, "√d_model · W_embed[token]", V_COLOR),
        (2.8, "+ positional encoding", K_COLOR),
        (4.2, "layer 1", Q_COLOR),
        (5.6, "…  layer N", Q_COLOR),
        (7.0, "output  (..., seq, d_model)", OUTPUT_COLOR),
    )
    for y, text, color in column:
        box(left, 0, y, text, color, width=4.0)
    for y, _, _ in column[1:]:
        arrow(left, (0, y - 1.08), (0, y - 0.32))
    for y, block, color in ((1.5, "multi_head_attention", Q_COLOR), (5.1, "feed_forward", SCORE_COLOR)):
        box(right, 0, y, block, color)
        right.text(
            0,
            y + 0.95,
            "+",
            ha="center",
            va="center",
            fontsize=15,
            zorder=3,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": "black"},
        )
        box(right, 0, y + 1.95, "layer_norm", OUTPUT_COLOR)
        arrow(right, (0, y + 0.32), (0, y + 0.68))
        arrow(right, (0, y + 1.2), (0, y + 1.63))
        arrow(right, (0, y - 0.85), (1.75, y - 0.85), (1.75, y + 0.95), (0.2, y + 0.95))
        right.text(1.85, y + 0.05, "skip", rotation=90, va="center")
    arrow(right, (0, 0), (0, 1.18))
    arrow(right, (0, 3.77), (0, 4.78))
    arrow(right, (0, 7.37), (0, 8.2))
    right.text(0, -0.3, "x  (..., seq, d_model)", ha="center")

# %% [markdown]
# ## 1 · Residual connections: a highway for the gradient
#
# **The problem.** A deep network is a chain $h_{i+1} = f_i(h_i)$. The gradient goes back through it by the chain rule,
# one factor for each layer:
#
# $$\frac{\partial L}{\partial h_0} = \frac{\partial L}{\partial h_N} \cdot f'_N \cdots f'_2 \cdot f'_1$$
#
# A product of N numbers below one goes to zero, of N numbers above one it explodes. Before 2015 this is why twenty
# layers learned worse than eight.
#
# **The idea** (He et al., *Deep Residual Learning*, 2015). Let a layer *add* to what comes in, in place of replacing
# it:
#
# $$h_{i+1} = h_i + f_i(h_i) \qquad\Rightarrow\qquad \frac{\partial h_{i+1}}{\partial h_i} = 1 + f'_i$$
#
# Multiply out $(1 + f'_N) \cdots (1 + f'_1)$: one of its terms is the bare 1. There is a way from the loss to each
# layer that passes no weights at all. The layers are exits and ramps; the highway goes straight.
#
# **A tiny example.** Six layers, each with slope $f' = 0.1$. Plain: $0.1^6 = 0.000001$, a millionth of the gradient
# arrives. With skips: $1.1^6 \approx 1.77$, all of it and more.
#
# **Predict, then run.** Below are 24 layers of the form `tanh(h @ W)`, the chain rule written out by hand. How much of
# a gradient of size 1 arrives at layer 1 with skips, and how much without: a tenth, a thousandth, a millionth, less?

# %%
with picture(
    "highway",
    alt="Line chart, log scale: size of the gradient that arrives at each of 24 layers. With skips it stays between 1 "
    "and 10 throughout. Without, it falls in a straight line from 1 at layer 24 to below a billionth at layer 1.",
):
    generator = torch.Generator().manual_seed(4)
    maps = [0.4 * torch.randn(64, 64, generator=generator) / 8 for _ in range(24)]
    start, last = torch.randn(64, generator=generator), torch.randn(64, generator=generator)

    def arriving_sizes(skip):
        h, outputs = start, []
        for W in maps:
            outputs.append(torch.tanh(h @ W))
            h = h + outputs[-1] if skip else outputs[-1]
        g, sizes = last / last.norm(), []
        for W, f in zip(reversed(maps), reversed(outputs)):
            through = (g * (1 - f * f)) @ W.T  # the chain rule through f: tanh' = 1 - tanh^2
            g = g + through if skip else through
            sizes.append(g.norm().item())
        return sizes[::-1]

    figure, ax = plt.subplots(figsize=(7, 3.6))
    ax.semilogy(range(1, 25), arriving_sizes(True), "o-", color=Q_COLOR, label="h + f(h), with skips")
    ax.semilogy(range(1, 25), arriving_sizes(False), "s--", color=K_COLOR, label="f(h), without")
    ax.set(
        title="What is left of a gradient of size 1",
        xlabel="arrives at the input of layer",
        ylabel="size of the gradient (log)",
    )
    ax.legend()

# %% [markdown]
# <details><summary>What you should see</summary>
#
# Without skips, less than a billionth. Each layer takes away a factor of about 2.5, and 24 such factors leave nothing
# to learn from. With skips the gradient of layer 1 is as large as that of layer 24, even a little larger. In exercise
# 7 you will measure the same on a real encoder, where layer norm hides half of the story, and the other half is the
# more interesting one.
# </details>

# %% [markdown]
# ## 2 · Layer norm
#
# **The problem.** A stream to which 2N blocks add can grow without limit, and each block would have to cope with
# inputs of any size. So after each addition every token's vector is brought back to a standard size.
#
# **The formula.** For one token $x$ with `d_model` numbers, where mean and variance run over these numbers:
#
# $$y = \gamma \odot \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \mathrm{eps}}} + \beta, \qquad
# \mathrm{mean}(x) = \frac{1}{d_{model}} \sum_j x_j, \qquad
# \mathrm{var}(x) = \frac{1}{d_{model}} \sum_j (x_j - \mathrm{mean}(x))^2$$
#
# Three things to keep in mind. The variance is the *biased* one: the sum is divided by `d_model`, not by `d_model - 1`
# as `x.var()` does unless told otherwise. `eps` stands *inside* the root; it keeps a token whose numbers are all equal
# from being divided by zero. And `gamma` and `beta`, both `(d_model,)`, are learned: the network may undo the
# normalisation where it hurts.
#
# **A tiny example.** $x = (1, 2, 3, 6)$: the mean is $3$, the deviations are $(-2, -1, 0, 3)$, their squares
# $4 + 1 + 0 + 9 = 14$, so the variance is $14 / 4 = 3.5$ and its root $1.871$. Result: $(-1.069, -0.535, 0, 1.604)$.
# With $\gamma = (1, 1, 1, 10)$ and $\beta = (0, 0, 5, 0)$ it becomes $(-1.069, -0.535, 5, 16.04)$.
#
# ### Exercise 1 · layer_norm · ★★☆ · 8 min
#
# Write the formula for a tensor of any number of dimensions.
#
# - `layer_norm` works over the last dimension, with the biased variance and `eps` inside the root.
# - `x` is `(..., d_model)` with any number of leading dimensions, none included.
# - A token whose numbers are all equal becomes `beta`.
# - Adding a constant to all numbers of a token changes nothing, and each token is normalised by itself.
# - `eps` may be given by name and is used as it is: for a token of tiny variance it decides the result.
#
# <details><summary>Hint 1</summary>
#
# A mean over the last dimension has one dimension less than `x` and will not broadcast against it. There is an
# argument of `mean` that keeps the dimension, with length 1.
# </details>
# <details><summary>Hint 2</summary>
#
# Take the mean away first, and use the result twice: for the variance (the mean of its squares) and as the numerator.
# The mean of the squares minus the square of the mean is the same number on paper; in floating point it loses all its
# digits when the mean is large.
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# From `x` of shape (..., d_model): mean of shape (..., 1); deviations of shape (..., d_model); mean of the squared
# deviations, (..., 1). Divide the deviations by the root of that plus eps. Stretch by gamma, shift by beta, both
# (d_model,).
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "layer_norm", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def layer_norm(x, gamma, beta, eps=1e-5):
    """Brings each vector along the last dimension to mean 0 and variance 1, then scales by gamma and shifts by beta.

    Shape:
        x: (..., d_model)
        gamma, beta: (d_model,)
        returns: same shape as x
    """
    ### BEGIN SOLUTION
    deviations = x - x.mean(dim=-1, keepdim=True)
    variance = (deviations * deviations).mean(dim=-1, keepdim=True)  # (..., 1), biased
    return gamma * (deviations / torch.sqrt(variance + eps)) + beta
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_layer_norm", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("layer_norm") as check:
    x = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    one, zero = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    wanted = torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=torch.float64) / math.sqrt(3.5 + 1e-5)
    check.equal(
        "the tiny example",
        layer_norm(x, one, zero),
        wanted,
        hint="mean 3, variance 14 / 4: divide by d_model, not by d_model - 1, and add eps before the root",
    )
    stretch, shift = torch.tensor([1.0, 1.0, 1.0, 10.0]).double(), torch.tensor([0.0, 0.0, 5.0, 0.0]).double()
    check.equal(
        "gamma stretches and beta shifts",
        layer_norm(x, stretch, shift),
        wanted * stretch + shift,
        hint="gamma multiplies the normalised numbers, beta is added last",
    )
    check.equal(
        "eps is inside the root",
        layer_norm(torch.tensor([0.0, 2.0]), torch.ones(2), torch.zeros(2), eps=3.0),
        torch.tensor([-0.5, 0.5]),
        hint="the variance is 1, so the root is sqrt(1 + 3) = 2",
    )
    batch = torch.stack([x, 10 * x + 7, torch.full((4,), 3.0).double()]).reshape(1, 3, 4)
    check.shape(
        "leading dimensions stay",
        layer_norm(batch, one, zero),
        (1, 3, 4),
        hint="keep the reduced dimension, so that it broadcasts",
    )
    check.equal(
        "a constant token becomes beta", layer_norm(batch, one, shift)[0, 2], shift, hint="0 / sqrt(0 + eps) is 0"
    )
    check.equal(
        "float16 in, float16 out",
        layer_norm(x.half(), one.half(), zero.half()),
        wanted.half(),
        hint="no step may change the dtype",
    )

# %% [markdown]
# **Predict, then run.** Four tokens with eight numbers each. The second is ten times the first, the third is the first
# plus 20, the fourth is the first with one number made huge. After your `layer_norm`: which tokens look alike? What
# happened to the fourth?

# %%
with picture(
    "layer_norm",
    alt="Two strip charts of four tokens with eight numbers each. Before: spreads and centres differ widely. After "
    "layer norm all are centred on zero with spread one; the first three look the same, in the fourth one number "
    "stands far out and the others are squeezed together.",
):
    token = torch.tensor([-1.2, 0.3, 0.8, -0.5, 1.6, 0.1, -0.9, 0.6])
    tokens = torch.stack([token, 10 * token, token + 20, torch.where(token == 1.6, 25.0, token)])
    after = layer_norm(tokens, torch.ones(8), torch.zeros(8))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for ax, rows, title in zip(axes, (tokens, after), ("before", "after your layer_norm")):
        for place, row in enumerate(rows.tolist()):
            ax.plot([place] * 8, row, "o", color=Q_COLOR, alpha=0.6)
            ax.plot(
                [place - 0.25, place + 0.25], [sum(row) / 8] * 2, color=K_COLOR, lw=2.5, label=None if place else "mean"
            )
        ax.set(title=title, xlabel="token", ylabel="its eight numbers")
        ax.set_xticks(range(4), ["x", "10 x", "x + 20", "x, one huge"])
        ax.legend(loc="upper left")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# The first three tokens coincide: layer norm forgets the size and the offset of a vector and keeps its pattern. In the
# fourth the outlier takes the whole variance for itself, and the other seven numbers are squeezed together.
# </details>
#
# ## 3 · Batch norm, and why it is not used here
#
# **The problem.** Batch norm (Ioffe and Szegedy, 2015) came first and made deep image networks trainable. It uses the
# same formula, but takes mean and variance for each *feature* over all tokens of all sentences, not for each token
# over its features:
#
# $$y_{b,s,j} = \gamma_j \, \frac{x_{b,s,j} - \mathrm{mean}_j}{\sqrt{\mathrm{var}_j + \mathrm{eps}}} + \beta_j, \qquad
# \mathrm{mean}_j = \frac{1}{batch \cdot seq} \sum_{b,s} x_{b,s,j}$$
#
# What comes out for my sentence then depends on which other sentences happen to be in the batch, on padding, on the
# batch's size. For text of varying length that is a nuisance in training, and at inference, with a batch of one, it
# needs averages remembered from training. Layer norm needs nothing but the token itself.
#
# **A tiny example.** Two sentences of two tokens, one feature: $1, 3$ and $5, 7$. Batch norm: mean $4$, variance
# $(9 + 1 + 1 + 9) / 4 = 5$, so $-1.34, -0.45, 0.45, 1.34$. Replace the second sentence by $100, 102$ and the *first*
# becomes $-1.01, -0.97$, though nobody touched it.
#
# ### Exercise 2 · batch_norm · ★☆☆ · 6 min
#
# - `batch_norm` takes `x` of shape `(batch, seq, d_model)`, and its statistics run over batch and seq, with the biased
#   variance and `eps` inside the root.
# - Every call works as in training: from the batch it is given, no running averages.
# - A feature that is the same everywhere becomes its `beta`; so does everything where batch and seq are both 1.
# - Adding a constant to one feature changes nothing, and each feature is normalised by itself.
# - `eps` may be given by name and is used as it is.
#
# <details><summary>Hint 1</summary>
#
# Which numbers share one mean? Those that differ only in batch and seq. `mean` takes a tuple of dimensions.
# </details>
# <details><summary>Hint 2: a sketch</summary>
#
# From `x` of shape (batch, seq, d_model): one mean for each feature, (d_model,), or (1, 1, d_model) with the
# dimensions kept, and one variance likewise. The rest is layer norm's last step, letter by letter.
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "batch_norm", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
def batch_norm(x, gamma, beta, eps=1e-5):
    """Brings each feature to mean 0 and variance 1 over batch and seq, then scales by gamma and shifts by beta.

    Shape:
        x: (batch, seq, d_model)
        gamma, beta: (d_model,)
        returns: same shape as x
    """
    ### BEGIN SOLUTION
    off_centre = x - x.mean(dim=(0, 1))
    spread = (off_centre * off_centre).mean(dim=(0, 1))  # (d_model,), biased
    return gamma * (off_centre / torch.sqrt(spread + eps)) + beta
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_batch_norm", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("batch_norm") as check:
    x = torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]]], dtype=torch.float64)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    wanted = torch.tensor([[[-3.0], [-1.0]], [[1.0], [3.0]]], dtype=torch.float64) / math.sqrt(5 + 1e-5)
    check.equal(
        "the tiny example",
        batch_norm(x, one, zero),
        wanted,
        hint="one mean over both sentences and both places: 4; variance 20 / 4",
    )
    check.equal(
        "gamma and beta",
        batch_norm(x, 2 * one, one),
        2 * wanted + 1,
        hint="as in layer norm, gamma and beta have one number for each feature",
    )
    two = torch.cat([x, 100 - 5 * x], dim=-1)
    got = batch_norm(two, torch.ones(2).double(), torch.zeros(2).double(), eps=0.0)
    check.equal(
        "each feature by itself",
        got,
        torch.cat([x - 4, 4 - x], dim=-1) / math.sqrt(5),
        hint="statistics over dimensions 0 and 1, never over the features",
    )
    single = torch.tensor([[[4.0, -2.0]]])
    check.equal(
        "a batch of one token becomes beta",
        batch_norm(single, torch.ones(2), torch.tensor([7.0, 8.0])),
        torch.tensor([[[7.0, 8.0]]]),
        hint="with the biased variance this is 0 / sqrt(0 + eps); dividing by n - 1 would be 0 / 0",
    )

# %% [markdown]
# **Predict, then run.** Left and middle: numbers of one colour share one mean. Right: the first token of sentence A,
# normalised in three batches; A stays the same, its neighbour changes. Which of the two norms will give three
# different answers?

# %%
with picture(
    "batch_norm",
    alt="Three panels. Left, layer norm: a grid of six tokens by four features, each row one shade. Middle, batch "
    "norm: the same grid, each column one shade. Right: four features of one token after both norms in three different "
    "batches; layer norm's three lines coincide, batch norm's differ.",
):
    generator = torch.Generator().manual_seed(7)
    sentence = torch.randn(1, 3, 4, generator=generator)
    neighbours = [torch.randn(1, 3, 4, generator=generator) * size + size for size in (0.5, 2.0, 6.0)]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    rows, columns = torch.arange(6).unsqueeze(1).expand(6, 4), torch.arange(4).expand(6, 4)
    names = [f"{s}{place}" for s in "AB" for place in (1, 2, 3)]
    for ax, groups, title in zip(axes, (rows, columns), ("layer norm: a mean a token", "batch norm: a mean a feature")):
        heatmap(ax, groups, title, "feature", "token (sentence, place)", yticks=names, xticks=range(4))
        ax.axhline(2.5, color="white", lw=3)
    for number, (other, style) in enumerate(zip(neighbours, ("o-", "s--", "^:")), start=1):
        both = torch.cat([sentence, other])
        for norm, color in ((layer_norm, Q_COLOR), (batch_norm, K_COLOR)):
            axes[2].plot(
                norm(both, torch.ones(4), torch.zeros(4))[0, 0].tolist(),
                style,
                color=color,
                label=f"{norm.__name__}, batch {number}",
            )
    axes[2].set(title="token A1 in three batches", xlabel="feature", ylabel="after the norm", xticks=range(4))
    axes[2].legend(fontsize=7)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# Layer norm's three lines lie on top of each other. Batch norm gives the same token three different vectors, because
# of sentences that have nothing to do with it.
# </details>
#
# | | layer norm | batch norm |
# | --- | --- | --- |
# | mean and variance over | the features of one token | all tokens of the batch, for one feature |
# | depends on other sentences | no | yes |
# | training and inference | the same | different: needs running averages |
# | a batch of one, any length | fine | breaks down |
# | home | Transformers, recurrent networks | convolutional networks |

# %% [markdown]
# ## 4 · The position-wise feed-forward network
#
# **The problem.** Attention only ever *averages* value vectors: for given weights it is linear. Something has to
# compute with what was gathered. That is a small network with one hidden layer, the same for each token, applied to
# each token by itself:
#
# $$\mathrm{FFN}(x) = \mathrm{relu}(x W_1 + b_1) \, W_2 + b_2, \qquad \mathrm{relu}(h) = \max(h, 0)$$
#
# with `W1 (d_model, d_ff)`, `b1 (d_ff,)`, `W2 (d_ff, d_model)`, `b2 (d_model,)`. The paper takes `d_ff = 4 * d_model`.
# Each hidden unit is a question ("is this a plural noun?") that stays silent below its threshold; what it answers is a
# row of `W2`, added to the token.
#
# **A tiny example.** `d_model = 1`, `d_ff = 2`, $W_1 = (1, -1)$, $W_2 = (1, 1)^T$, no biases. For $x = -3$ the hidden
# layer is $\mathrm{relu}(-3, 3) = (0, 3)$ and the output $3$; for $x = 2$ it is $(2, 0)$ and $2$.
# Two units have made $|x|$, which no linear map can do.
#
# ### Exercise 3 · feed_forward · ★☆☆ · 6 min
#
# - `feed_forward` is `relu(x W1 + b1) W2 + b2`; there is no relu after the second matrix.
# - `x` is `(..., d_model)`, and each token goes through by itself: changing one token leaves the outputs of all others
#   as they were.
# - Hidden units below zero give exactly zero and pass no gradient. Tests keep away from hidden values of exactly zero
#   where gradients are compared.
# - relu has to be made of raw operations: `clamp`, `maximum`, `where`, a product with a comparison.
#
# <details><summary>Hint 1</summary>
#
# `@` multiplies the last dimension of `x` and leaves all leading ones alone; a bias broadcasts. So no reshaping is
# needed.
# </details>
# <details><summary>Hint 2: a sketch</summary>
#
# x (..., d_model) times W1 plus b1: hidden, (..., d_ff). Everything negative in it becomes zero. Times W2 plus b2:
# (..., d_model).
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "feed_forward", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
def feed_forward(x, W1, b1, W2, b2):
    """Position-wise network with one hidden layer and relu: relu(x W1 + b1) W2 + b2.

    Shape:
        x: (..., d_model)
        W1: (d_model, d_ff), b1: (d_ff,)
        W2: (d_ff, d_model), b2: (d_model,)
        returns: same shape as x
    """
    ### BEGIN SOLUTION
    hidden = torch.clamp(x @ W1 + b1, min=0)  # (..., d_ff)
    return hidden @ W2 + b2
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_feed_forward", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("feed_forward") as check:
    x = torch.tensor([[-3.0], [2.0], [0.5]])
    W1, W2 = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0], [1.0]])
    none, nothing = torch.zeros(2), torch.zeros(1)
    check.equal(
        "two units make |x|",
        feed_forward(x, W1, none, W2, nothing),
        x.abs(),
        hint="negative hidden numbers become 0, positive ones stay",
    )
    check.equal(
        "b1 moves the kinks",
        feed_forward(x, W1, torch.tensor([1.0, -1.0]), W2, nothing),
        (x + 1).abs(),
        hint="b1 is added before relu",
    )
    check.equal(
        "b2 and negative outputs",
        feed_forward(x, W1, none, -W2, nothing - 1),
        -x.abs() - 1,
        hint="no relu after the second matrix; b2 is added last",
    )
    check.shape(
        "leading dimensions stay",
        feed_forward(torch.ones(2, 5, 3, 1), W1, none, W2, nothing),
        (2, 5, 3, 1),
        hint="x @ W1 does it as it is",
    )

# %% [markdown]
# **Predict, then run.** Left: your network with `d_model = 1` and 3, 5 or 17 hidden units, weights set by hand to
# follow a sine wave. What shape does a relu network draw between its kinks? Right: six tokens go through a block, then
# token 2 is changed and they go again. Which rows of the output change for attention, which for your `feed_forward`?

# %%
with picture(
    "feed_forward",
    alt="Left: a sine wave and three polygons that follow it, the better the more hidden units there are. Right: a bar "
    "chart for six tokens of how much the output changes when token 2 changes: with attention all six bars are "
    "above zero, with feed-forward only the bar of token 2.",
):

    def sine_by_kinks(units):
        kinks = torch.linspace(-math.pi, math.pi, units + 1)
        slopes = torch.sin(kinks).diff() / kinks.diff()
        turns = torch.cat([slopes[:1], slopes.diff()])
        return torch.ones(1, units), -kinks[:-1], turns.unsqueeze(1), torch.zeros(1)

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    line = torch.linspace(-math.pi, math.pi, 200).unsqueeze(1)
    left.plot(line, torch.sin(line), color="black", lw=3, alpha=0.3, label="sin x")
    for units, color, style in ((3, K_COLOR, ":"), (5, V_COLOR, "--"), (17, Q_COLOR, "-")):
        left.plot(line, feed_forward(line, *sine_by_kinks(units)), style, color=color, label=f"d_ff = {units}")
    left.set(title="each hidden unit adds one kink", xlabel="x", ylabel="feed_forward(x)")
    left.legend()

    generator = torch.Generator().manual_seed(2)
    p = new_layer(8, 32, generator)
    tokens = torch.randn(6, 8, generator=generator)
    other = tokens.clone()
    other[2] += 1
    attend = [multi_head_attention(t, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads=2)[0] for t in (tokens, other)]
    think = [feed_forward(t, p["W1"], p["b1"], p["W2"], p["b2"]) for t in (tokens, other)]
    places = torch.arange(6)
    right.bar(
        (places - 0.2).tolist(), (attend[0] - attend[1]).norm(dim=-1).tolist(), 0.4, color=Q_COLOR, label="attention"
    )
    right.bar(
        (places + 0.2).tolist(),
        (think[0] - think[1]).norm(dim=-1).tolist(),
        0.4,
        color=K_COLOR,
        hatch="//",
        label="feed_forward",
    )
    right.set(title="token 2 was changed", xlabel="token", ylabel="change of its output (norm)")
    right.legend()

# %% [markdown]
# <details><summary>What you should see</summary>
#
# Straight pieces: a relu network is piecewise linear, one kink for each hidden unit. On the right attention carries
# the news to every token, while `feed_forward` changes token 2 only. That is what *position-wise* means, and why a
# layer needs both.
# </details>
#
# ## 5 · One encoder layer
#
# **The problem.** Put the parts together: attention, feed-forward, a skip around each, a norm after each addition.
#
# $$x_1 = \mathrm{LN}_1\big(x + \mathrm{MHA}(x)\big), \qquad output = \mathrm{LN}_2\big(x_1 + \mathrm{FFN}(x_1)\big)$$
#
# This is *post-norm*, as in the paper: the norm comes after the addition. (Most later models normalise *before* each
# block, `x + MHA(LN(x))`, which leaves the highway wholly free.) The second skip starts from $x_1$, not from $x$.
#
# The parameters of a layer come in a dictionary, by the names of the formula:
#
# | | names | shapes |
# | --- | --- | --- |
# | attention | `W_Q W_K W_V W_O` | `(d_model, d_model)` each |
# | first norm | `gamma1 beta1` | `(d_model,)` |
# | feed-forward | `W1 b1 W2 b2` | `(d_model, d_ff) (d_ff,) (d_ff, d_model) (d_model,)` |
# | second norm | `gamma2 beta2` | `(d_model,)` |
#
# **A tiny example.** One token $x = (3, 1)$; all matrices zero, so attention gives $(0, 0)$; $b_2 = (0, 4)$. First
# addition: $(3, 1)$ again, normed: $(1, -1)$. The feed-forward network gives $(0, 4)$; second addition: $(1, 3)$,
# normed: $(-1, 1)$.
#
# ### Exercise 4 · encoder_layer · ★★☆ · 10 min
#
# - `encoder_layer(x, params, n_heads, mask=None)` returns `(output, weights)`: the output has the shape of `x`, the
#   attention weights are `(..., n_heads, seq, seq)`, as `multi_head_attention` gives them.
# - Post-norm: first attention, then feed-forward, each with its skip, and the norm after the addition; both norms use
#   the default `eps`.
# - Every entry of `params` is used, each in its own place:
#   `gamma1` and `beta1` after attention, `gamma2` and `beta2` after feed-forward.
# - `mask` reaches attention: under a causal mask a later token does not change the output of an earlier one.
# - Without a mask, a layer that gets its tokens in another order gives the same outputs in that order.
# - Where everything is blocked, the weights are exactly zero, the layer goes on with its skips, and `W_Q`, `W_K`,
#   `W_V` and `W_O` get gradients of exactly zero.
#
# <details><summary>Hint 1</summary>
#
# You have written all the parts. `multi_head_attention` returns a pair; keep its second half until the end.
# </details>
# <details><summary>Hint 2</summary>
#
# Follow the picture at the top from bottom to top, one line of code for each box. Where does the second skip branch
# off: before or after the first norm?
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# Four steps, each (..., seq, d_model): what attention found; norm number 1 of its sum with x; what the feed-forward
# network makes of that; norm number 2 of the sum of these last two. Beside them the weights, (..., n_heads, seq, seq).
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "encoder_layer", "locked": false, "points": 20, "schema_version": 3, "solution": true, "task": false}
def encoder_layer(x, params, n_heads, mask=None):
    """One post-norm encoder layer: attention and feed-forward, each with a skip around it and a layer norm after it.

    Shape:
        x: (..., seq, d_model)
        params: dict with W_Q W_K W_V W_O (d_model, d_model), gamma1 beta1 gamma2 beta2 b2 (d_model,),
            W1 (d_model, d_ff), b1 (d_ff,), W2 (d_ff, d_model)
        mask: bool, broadcasts to (..., n_heads, seq, seq), True = blocked
        returns: output (..., seq, d_model), weights (..., n_heads, seq, seq)
    """
    ### BEGIN SOLUTION
    attended, weights = multi_head_attention(
        x, params["W_Q"], params["W_K"], params["W_V"], params["W_O"], n_heads, mask=mask
    )
    x1 = layer_norm(x + attended, params["gamma1"], params["beta1"])
    transformed = feed_forward(x1, params["W1"], params["b1"], params["W2"], params["b2"])
    return layer_norm(x1 + transformed, params["gamma2"], params["beta2"]), weights
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_encoder_layer", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("encoder_layer") as check:
    still = {name: torch.zeros_like(value) for name, value in new_layer(2, 3, torch.Generator().manual_seed(0)).items()}
    still |= {"gamma1": torch.ones(2), "gamma2": torch.ones(2), "b2": torch.tensor([0.0, 4.0])}
    got = encoder_layer(torch.tensor([[3.0, 1.0]]), still, n_heads=1)
    check.true("it returns a pair", isinstance(got, tuple) and len(got) == 2, hint="return output, weights")
    check.equal(
        "the tiny example",
        got[0],
        torch.tensor([[-1.0, 1.0]]),
        within=1e-4,
        hint="post-norm: norm after each addition; the second skip carries what the first norm gave",
    )
    check.equal(
        "its weights: one token looks at itself",
        got[1],
        torch.ones(1, 1, 1),
        hint="weights as multi_head_attention returned them",
    )
    moved = encoder_layer(torch.tensor([[3.0, 1.0]]), still | {"beta1": torch.tensor([9.0, 0.0])}, n_heads=1)[0]
    check.equal(
        "beta1 belongs to the first norm",
        moved,
        torch.tensor([[1.0, -1.0]]),
        within=1e-4,
        hint="(1, -1) + beta1 = (10, -1); then + b2, then the second norm",
    )
    generator = torch.Generator().manual_seed(1)
    full, x = new_layer(8, 16, generator), torch.randn(2, 5, 8, generator=generator)
    later = torch.arange(5) > torch.arange(5).unsqueeze(1)
    output, weights = encoder_layer(x, full, n_heads=4, mask=later)
    check.shape("the output's shape", output, (2, 5, 8))
    check.shape("the weights' shape", weights, (2, 4, 5, 5), hint="(batch, n_heads, seq, seq)")
    check.true(
        "blocked weights are zero", (weights[..., later] == 0).all(), hint="hand the mask on to multi_head_attention"
    )
    check.equal(
        "tokens come out normed",
        output.mean(dim=-1),
        torch.zeros(2, 5),
        within=1e-5,
        hint="the last step is layer norm number 2",
    )

# %% [markdown]
# **Predict, then run.** Six tokens go through your layer. Then token `j` is nudged and they go again: the map shows
# how much each output `i` moved. Without a mask and with a causal one: which squares are *exactly* zero? Which are
# largest, and thanks to what?

# %%
with picture(
    "encoder_layer",
    alt="Two heat maps, six by six: nudged token across, output token down. Without a mask all squares are above zero "
    "and the diagonal is brightest. With a causal mask everything above the diagonal is exactly zero.",
):
    generator = torch.Generator().manual_seed(11)
    p, tokens = new_layer(16, 64, generator), torch.randn(6, 16, generator=generator)
    later = torch.arange(6) > torch.arange(6).unsqueeze(1)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
    for ax, mask, title in zip(axes, (None, later), ("no mask", "causal mask")):
        calm = encoder_layer(tokens, p, n_heads=4, mask=mask)[0]
        columns = []
        for j in range(6):
            nudged = tokens.clone()
            nudged[j] += 0.5 * torch.randn(16, generator=generator)
            columns.append((encoder_layer(nudged, p, n_heads=4, mask=mask)[0] - calm).norm(dim=-1))
        image = heatmap(
            ax,
            torch.stack(columns, dim=1),
            f"who hears of token j? {title}",
            "nudged token j",
            "output of token i",
            xticks=range(6),
            yticks=range(6),
            annotate=True,
            vmin=0,
            vmax=2.5,
        )
    figure.colorbar(image, ax=axes, label="change of the output (norm)")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# Without a mask everybody hears of everybody. The diagonal is brightest: by the skips each token remains mostly
# itself. With the causal mask all squares above the diagonal are zero to the last bit: no way leads from a later token
# to an earlier one, neither attention (blocked) nor feed-forward (position-wise) nor layer norm (by token). With batch
# norm there would be one!
# </details>
#
# ## 6 · The encoder: N layers
#
# **The problem.** One layer looks once. The second layer looks at what the first has found, so it can ask about
# *relations between relations*. The encoder is the embedding of lesson 3, then the layers one after the other, each
# with parameters of its own:
#
# $$x^{(0)} = \sqrt{d_{model}} \; W_{embed}[token\_ids] + PE, \qquad x^{(i)} = \mathrm{layer}_i\big(x^{(i-1)}\big)$$
#
# **A tiny example.** `d_model = 4`, and the token at position 0 has the embedding $(3, 0, 0, 0)$. Times $\sqrt 4 = 2$
# that is $(6, 0, 0, 0)$; the encoding of position 0 is $(0, 1, 0, 1)$; so the first layer gets $(6, 1, 0, 1)$.
#
# ### Exercise 5 · encoder · ★★☆ · 8 min
#
# - `encoder(token_ids, params, n_heads, mask=None)` returns `(output, list of weights)`:
#   `token_ids` are int64 `(..., seq)`, the output is `(..., seq, d_model)`, and the list holds one
#   tensor of attention weights for each layer, first to last.
# - `params` has `W_embed (vocabulary, d_model)` and `layers`, a list of what `encoder_layer` takes;
#   each layer gets the output of the one before. The same layer may stand in the list twice.
# - The embedding is multiplied by `sqrt(d_model)` before the encoding is added, both in the dtype and on the device of
#   `W_embed`. Float32 accuracy of the encoding is enough, also where it is added to float64.
# - The same `mask` goes to every layer.
# - Word order matters: the same token at another place has another output. Places count from zero in every sentence,
#   and a sentence may be one token long.
# - A sentence gives the same result alone as it does within a batch.
# - `W_embed` gets its gradient as well, in each row the sum over all places where that token stands.
#
# <details><summary>Hint 1</summary>
#
# Picking rows of a table is plain indexing in torch; the index may have any number of dimensions.
# </details>
# <details><summary>Hint 2</summary>
#
# `sinusoidal_positional_encoding` gives float32. Adding float32 to float16 gives float32: bring it to the table's
# dtype first. It also takes a device.
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# Rows of W_embed, (..., seq, d_model), stretched by the root of d_model; plus an encoding of shape (seq, d_model) in
# dtype and device of the table. Then go through the layers: the new x replaces the old one, the weights go to the end
# of a list that began empty.
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "encoder", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def encoder(token_ids, params, n_heads, mask=None):
    """The whole encoder: scaled embedding plus positional encoding, then every layer in turn.

    Shape:
        token_ids: int64 (..., seq)
        params: dict with W_embed (vocabulary, d_model) and layers, a list of dicts as encoder_layer takes them
        mask: bool, broadcasts to (..., n_heads, seq, seq), True = blocked
        returns: output (..., seq, d_model), list of weights (..., n_heads, seq, seq), one a layer
    """
    ### BEGIN SOLUTION
    W_embed = params["W_embed"]
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    encoding = sinusoidal_positional_encoding(seq, d_model, device=W_embed.device).to(W_embed.dtype)
    x = math.sqrt(d_model) * W_embed[token_ids] + encoding
    weights_by_layer = []
    for layer in params["layers"]:
        x, layer_weights = encoder_layer(x, layer, n_heads, mask=mask)
        weights_by_layer.append(layer_weights)
    return x, weights_by_layer
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_encoder", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("encoder") as check:
    table = torch.tensor([[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    got = encoder(torch.tensor([0]), {"W_embed": table, "layers": []}, n_heads=2)
    check.true("it returns a pair", isinstance(got, tuple) and len(got) == 2, hint="return output, list of weights")
    check.equal(
        "the tiny example, before any layer",
        got[0],
        torch.tensor([[6.0, 1.0, 0.0, 1.0]]),
        hint="sqrt(d_model) times the embedding, plus the encoding",
    )
    generator = torch.Generator().manual_seed(3)
    layers = [new_layer(4, 8, generator) for _ in range(3)]
    ids = torch.tensor([[0, 1, 1], [1, 0, 1]])
    output, all_weights = encoder(ids, {"W_embed": table, "layers": layers}, n_heads=2)
    check.shape("the output's shape", output, (2, 3, 4))
    check.true("one tensor of weights a layer", len(all_weights) == 3, hint="append each layer's weights to a list")
    check.shape("shape of the weights", all_weights[2], (2, 2, 3, 3))
    check.true(
        "layers differ",
        not torch.equal(all_weights[0], all_weights[1]),
        hint="each layer gets the output of the one before, and its own parameters",
    )
    check.true(
        "word order matters",
        not torch.allclose(output[0].sum(dim=0), output[1].sum(dim=0)),
        hint="was the positional encoding added?",
    )
    half = {
        "W_embed": table.half(),
        "layers": [{name: value.half() for name, value in layer.items()} for layer in layers],
    }
    check.true(
        "float16 in, float16 out",
        encoder(ids, half, n_heads=2)[0].dtype == torch.float16,
        hint="bring the encoding to the dtype of W_embed",
    )

# %% [markdown]
# ### Does it learn? Words, written backwards
#
# Random weights show random patterns. So let your encoder learn something: it gets ten letters and has to give at each
# place the letter that stands there when the word is read backwards. The scores for the 26 letters are the products of
# the output with the rows of `W_embed`; the loss is the mean negative logarithm of the right letter's probability;
# Adam takes 300 steps. It needs some seconds, and nothing in the cell is new but the optimiser.
#
# **Predict, then run.** To solve it, where does the first place (0) have to look? And place 3?

# %%
generator = torch.Generator().manual_seed(5)
writer = {
    "W_embed": torch.randn(26, 32, generator=generator) / math.sqrt(32),
    "layers": [new_layer(32, 64, generator) for _ in range(3)],
}

with picture(
    "encoder",
    alt="Two curves over 300 training steps: the loss falls from above 3 to near zero, the share of right letters "
    "rises from one in 26 to nearly all.",
):
    learned = [writer["W_embed"], *(tensor for layer in writer["layers"] for tensor in layer.values())]
    optimiser = torch.optim.Adam([tensor.requires_grad_() for tensor in learned], lr=5e-3)
    losses, shares = [], []
    for _ in range(300):
        words = torch.randint(26, (32, 10), generator=generator)
        backwards = words.flip(-1)
        logits = encoder(words, writer, n_heads=4)[0] @ writer["W_embed"].T
        right = softmax(logits).gather(-1, backwards.unsqueeze(-1))
        loss = -torch.log(right + 1e-9).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        shares.append((logits.argmax(dim=-1) == backwards).float().mean().item())
    figure, ax = plt.subplots(figsize=(7, 3.4))
    (first,) = ax.plot(losses, color=K_COLOR, label="loss (left axis)")
    ax.set(title="your encoder learns to write backwards", xlabel="step", ylabel="loss (nats a letter)")
    twin = ax.twinx()
    (second,) = twin.plot([100 * share for share in shares], "--", color=Q_COLOR, label="right letters (right axis)")
    twin.set(ylabel="right letters (%)", ylim=(0, 105))
    ax.legend(handles=[first, second], loc="center left")

# %% [markdown]
# ### Attention across layers and heads
#
# Now look inside: one map for each layer (row) and head (column). Across: the letter that is looked at; down: the
# letter that looks. Each row of a map sums to one.

# %%
word = "background"
ids = torch.tensor([ord(letter) - ord("a") for letter in word])

with picture(
    "encoder",
    alt="A grid of heat maps, three layers by four heads, letters of the word background on both axes. In some heads "
    "the bright squares lie on the diagonal from lower left to upper right: each letter looks at its mirror image. "
    "Other heads look broadly.",
):
    output, all_weights = encoder(ids, writer, n_heads=4)
    figure, axes = plt.subplots(3, 4, figsize=(11, 8.4), sharex=True, sharey=True)
    for layer, row in enumerate(axes):
        for head, ax in enumerate(row):
            image = heatmap(
                ax,
                all_weights[layer][head],
                f"layer {layer + 1}, head {head + 1}",
                "key" if layer == 2 else "",
                "query" if head == 0 else "",
                xticks=word,
                yticks=word,
                vmin=0,
                vmax=1,
            )
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.6)
    guesses = (output @ writer["W_embed"].T).argmax(dim=-1).tolist()
    print(word, "->", "".join(chr(number + ord("a")) for number in guesses))

# %% [markdown]
# <details><summary>What you should see</summary>
#
# Heads in which place i looks at place 9 - i, the diagonal that runs the other way. Nobody told them: the positional
# encoding made it possible (lesson 3: a fixed distance is a rotation, and so is a mirror image for a fixed length),
# and the gradient found it. Heads share the work; some have little to do.
# </details>
#
# ### How representations evolve
#
# What do the layers do to the tokens? Compare all pairs of tokens by the cosine of their angle: 1 same direction, 0
# unrelated. Your encoder with its first k layers gives the state after layer k. The upper row compares the tokens with
# each other, the lower row compares each token with the embeddings of the word's letters: what does it "say"?
#
# **Predict, then run.** Will tokens become more alike from layer to layer, or less? And if attention stood alone,
# twelve times in a row, without skips, norms and feed-forward?


# %%
def cosine_similarity(x, y):
    """(n, m) cosines between the rows of x (n, d_model) and those of y (m, d_model)."""
    return (x / x.norm(dim=-1, keepdim=True)) @ (y / y.norm(dim=-1, keepdim=True)).T


def mean_similarity(x):
    """The mean cosine between two different tokens of x (seq, d_model)."""
    return ((cosine_similarity(x, x).sum() - x.shape[0]) / (x.shape[0] * (x.shape[0] - 1))).item()


with picture(
    "encoder",
    alt="Two rows of four heat maps, after the embedding and after each of three layers. Upper row, cosine similarity "
    "of the ten tokens with each other: neighbours become more alike. Lower row, similarity of each token with the "
    "embeddings of the word's letters: at first bright on the diagonal, after the last layer bright on the other "
    "diagonal, the mirror image.",
):
    letters = writer["W_embed"][ids].detach()
    figure, axes = plt.subplots(2, 4, figsize=(12, 6.4), sharey=True)
    for depth, (upper, lower) in enumerate(axes.T):
        state = encoder(ids, {"W_embed": writer["W_embed"], "layers": writer["layers"][:depth]}, n_heads=4)[0].detach()
        title = f"after layer {depth}" if depth else "embedding + encoding"
        heatmap(
            upper,
            cosine_similarity(state, state),
            f"{title}\nmean {mean_similarity(state):.2f}",
            "",
            "token" if depth == 0 else "",
            xticks=word,
            yticks=word,
            vmin=-1,
            vmax=1,
        )
        image = heatmap(
            lower,
            cosine_similarity(state, letters),
            "",
            "token (above), letter (below)",
            "token" if depth == 0 else "",
            xticks=word,
            yticks=word,
            vmin=-1,
            vmax=1,
        )
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.6)

# %%
with picture(
    "encoder",
    alt="Line chart of mean token similarity after each of twelve layers with random weights. Attention alone: close "
    "to one after the first layer. The full encoder rises slowly and stays well below one.",
):
    generator = torch.Generator().manual_seed(8)
    deep = {
        "W_embed": torch.randn(26, 32, generator=generator) / math.sqrt(32),
        "layers": [new_layer(32, 64, generator, scale=0.5) for _ in range(12)],
    }
    whole = [
        mean_similarity(encoder(ids, deep | {"layers": deep["layers"][:depth]}, n_heads=4)[0]) for depth in range(13)
    ]
    bare, alone = encoder(ids, deep | {"layers": []}, n_heads=4)[0], []
    for layer in deep["layers"]:
        alone.append(mean_similarity(bare))
        bare = multi_head_attention(bare, *(layer[name] for name in ("W_Q", "W_K", "W_V", "W_O")), n_heads=4)[0]
    alone.append(mean_similarity(bare))
    figure, ax = plt.subplots(figsize=(7, 3.6))
    ax.plot(whole, "o-", color=Q_COLOR, label="your encoder layers")
    ax.plot(alone, "s--", color=K_COLOR, label="attention alone, nothing else")
    ax.set(
        title="do the tokens stay different? (random weights)",
        xlabel="after layer (0: embedding)",
        ylabel="mean cosine between tokens",
        ylim=(-0.1, 1.08),
    )
    ax.legend(loc="center", bbox_to_anchor=(0.5, 0.7))

# %% [markdown]
# <details><summary>What you should see</summary>
#
# The trained encoder moves information about: in the lower row each token begins as its own letter and ends as its
# *mirror* letter. With random weights, attention alone makes all tokens the same vector within a layer or two: an
# average of averages. (Dong et al., *Attention is not all you need*, 2021, prove that the collapse is doubly
# exponential.) With skips each token carries itself along, and stays itself for long.
# </details>
#
# ## 7 · Counting parameters
#
# **The problem.** "65 million parameters": where do they sit? In one layer, by the table in section 5:
#
# $$\underbrace{4 \, d_{model}^2}_{\text{attention}} +
# \underbrace{2 \, d_{model} \, d_{ff} + d_{ff} + d_{model}}_{\text{feed-forward}} +
# \underbrace{4 \, d_{model}}_{\text{two norms}}$$
#
# **A tiny example.** `d_model = 4`, `d_ff = 8`: $64 + (64 + 8 + 4) + 16 = 156$. Neither the number of heads nor the
# length of the sentence occurs in it.
#
# Parameters live in nested containers, and one tensor may stand in two places: the embedding that also produces the
# output scores (as in our backwards writer), or one layer used N times over (ALBERT). It is stored once, trained once,
# and counts once.
#
# ### Exercise 6 · count_parameters · ★★☆ · 8 min
#
# - `count_parameters(params)` gives the number of numbers in dicts, lists and tuples of tensors, nested in any way and
#   to any depth.
# - A tensor may have any rank: a single number, of rank 0, counts as 1. An empty container counts 0.
# - A tensor that occurs twice, as the same object, counts once, wherever its places are.
#   Two tensors that hold equal numbers are two.
# - The dtype, the layout in memory and `requires_grad` make no difference.
#
# <details><summary>Hint 1</summary>
#
# Three kinds of things can lie in a container: a tensor, a dict, and a list or tuple. For the last two, the same
# question is asked again of each thing inside. That smells of recursion (or of a pile of things still to be looked
# at).
# </details>
# <details><summary>Hint 2</summary>
#
# To know whether a tensor was there before, remember *which object* it was, not what is in it: `id(thing)` is a number
# that no two living objects share. Beware of `tensor in some_list`, which compares numbers.
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# A pile that begins with params, and an empty record. While there is something on the pile, take it off. A tensor:
# note its number of elements in the record under its identity. A dict: put its values on the pile. Otherwise: put its
# items there. In the end add up the record.
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "count_parameters", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
def count_parameters(params):
    """How many numbers the tensors in params hold; a tensor that occurs twice counts once.

    Shape:
        params: dicts, lists and tuples of tensors, nested in any way
        returns: an int
    """
    ### BEGIN SOLUTION
    sizes = {}
    waiting = [params]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, torch.Tensor):
            sizes[id(entry)] = entry.numel()
        else:
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
    return sum(sizes.values())
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_count_parameters", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("count_parameters") as check:
    small = new_layer(4, 8, torch.Generator().manual_seed(0))
    check.equal("the tiny example", count_parameters(small), 156, hint="4 * 16 + (2 * 32 + 8 + 4) + 16")
    check.equal(
        "nested containers",
        count_parameters({"layers": [small, {"more": (torch.ones(3), [torch.ones(2, 2)])}]}),
        163,
        hint="look into dicts, lists and tuples, however deep",
    )
    shared = torch.zeros(5, 2)
    check.equal(
        "a shared tensor counts once",
        count_parameters([shared, {"again": shared}, torch.zeros(5, 2)]),
        20,
        hint="the same object once; another tensor with equal numbers is another tensor",
    )
    check.equal(
        "a layer that is used twice counts once",
        count_parameters([small, small]),
        156,
        hint="the record must live through the whole search",
    )
    check.equal(
        "rank 0",
        count_parameters([torch.tensor(1.0), []]),
        1,
        hint="numel() of a single number is 1; an empty list holds nothing",
    )

# %% [markdown]
# **Predict, then run.** The paper's base encoder: vocabulary 37,000, `d_model = 512`, `d_ff = 2048`, N = 6. What is
# largest: embedding, attention, feed-forward or norms? By what factor do feed-forward and attention differ?

# %%
with picture(
    "count_parameters",
    alt="Horizontal bars, parameters in millions of the paper's base encoder: embedding 18.9, feed-forward 12.6, "
    "attention 6.3, norms 0.01.",
):

    def empty(*shape):
        return torch.zeros(1).expand(shape)  # the shape, without the memory

    stack = [
        {
            "attention": [empty(512, 512) for _ in range(4)],
            "feed-forward": [empty(512, 2048), empty(2048), empty(2048, 512), empty(512)],
            "norms": [empty(512) for _ in range(4)],
        }
        for _ in range(6)
    ]
    parts = {"embedding": [empty(37000, 512)]} | {part: [layer[part] for layer in stack] for part in stack[0]}
    counts = {part: count_parameters(tensors) / 1e6 for part, tensors in parts.items()}
    figure, ax = plt.subplots(figsize=(7.5, 2.8))
    bars = ax.barh(list(counts), list(counts.values()), color=[V_COLOR, Q_COLOR, SCORE_COLOR, OUTPUT_COLOR])
    ax.bar_label(bars, [f"{count:.2f}" for count in counts.values()], padding=4)
    ax.set(
        title=f"the paper's base encoder: {count_parameters(parts) / 1e6:.1f} million parameters",
        xlabel="parameters (millions)",
        xlim=(0, 22),
    )
    ax.invert_yaxis()

# %% [markdown]
# <details><summary>What you should see</summary>
#
# The embedding, then feed-forward with twice as much as attention: with `d_ff = 4 * d_model` it is 8 against 4 times
# the square of `d_model`. The norms are nearly free. In large models the embedding's share shrinks, and two thirds of
# everything is feed-forward.
# </details>
#
# ## 8 · Residual against no residual, measured
#
# **The problem.** Section 1 was a toy. What arrives at each layer of a real encoder, with the skips and without?
#
# For the layers $x^{(i)} = \mathrm{layer}_i(x^{(i-1)})$ and a gradient $G$ (`grad_output`) that arrives at the output
# of the last one, the wanted numbers are
#
# $$norms[i] = \Big\lVert \frac{\partial \, \langle G, x^{(N)} \rangle}{\partial \, x^{(i)}} \Big\rVert_F, \qquad
# i = 0, \dots, N - 1, \qquad \lVert A \rVert_F = \sqrt{\sum_{jk} A_{jk}^2}$$
#
# that is, the Frobenius norm (root of the sum of all squares, over batch, seq and d_model together) of the gradient at
# the *input* of each layer. Without residual a layer is $x_1 = \mathrm{LN}_1(\mathrm{MHA}(x))$,
# $output = \mathrm{LN}_2(\mathrm{FFN}(x_1))$.
#
# Why a $G$, and not the sum of all outputs? The outputs come from a layer norm. With constant `gamma` the numbers of
# each token always sum to the same, whatever the weights are: the sum is a constant, and all its gradients are zero.
# You will see it in the picture.
#
# **A tiny example.** Let $W_O = 0$ and leave the skips out: attention gives zeros whatever $x$ is, so
# nothing arrives at the input: norm 0. With skips there is still the highway, and the norm is not zero.
#
# ### Exercise 7 · gradient_norms · ★★★ · 14 min
#
# - `gradient_norms(x, layers, n_heads, grad_output, residual=True)` returns a list with
#   one number for each layer, first to last: the Frobenius norm of the gradient that arrives at that layer's input
#   when `grad_output`, of the shape of `x`, arrives at the output of the last layer.
# - `layers` is a list of what `encoder_layer` takes. There is no mask.
# - `residual=False` leaves out both skips of every layer and nothing else: both norms stay.
# - Arguments are as before: numbers, `requires_grad` and `.grad` of `x`, of `grad_output` and of every parameter,
#   whether they had a gradient before or not.
# - `x` and the parameters may require a gradient or not; the numbers are the same.
# - Twice the `grad_output` gives twice the norms.
# - The numbers may be Python floats or tensors of rank 0, as accurate as the dtype of `x` allows. Nothing has to be
#   differentiable here.
#
# <details><summary>Hint 1</summary>
#
# `encoder_layer` always has its skips, so for `residual=False` the layer has to be written out once more, from the
# parts. Only the two additions depend on `residual`.
# </details>
# <details><summary>Hint 2</summary>
#
# If `x` does not require a gradient, nothing is recorded. But its flag must not be touched: work with a tensor of your
# own that has the same numbers and is cut off from `x`.
# </details>
# <details><summary>Hint 3</summary>
#
# `backward()` writes into `.grad` of every leaf that it finds, the parameters too. `torch.autograd.grad` *returns* the
# gradients of what you name, and writes nowhere; it takes the arriving gradient as its third argument, and it may be
# asked for tensors in the middle of the graph.
# </details>
# <details><summary>Hint 4: a sketch</summary>
#
# Your own copy of x, requiring a gradient, (..., seq, d_model). Go through the layers and keep each layer's input in a
# list of N tensors. Ask once for the gradients of the last output with respect to all N of them, with grad_output
# arriving. For each gradient: square, sum, root.
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "gradient_norms", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def gradient_norms(x, layers, n_heads, grad_output, residual=True):
    """Frobenius norms of the gradients that arrive at the input of each layer, first to last.

    Shape:
        x, grad_output: (..., seq, d_model)
        layers: list of dicts as encoder_layer takes them
        returns: list of len(layers) numbers
    """
    ### BEGIN SOLUTION
    inputs = []
    with torch.enable_grad():  # also where the caller has switched gradients off
        h = x.detach().requires_grad_()
        for p in layers:
            inputs.append(h)
            found, _ = multi_head_attention(h, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], n_heads)
            h = layer_norm(h + found if residual else found, p["gamma1"], p["beta1"])
            found = feed_forward(h, p["W1"], p["b1"], p["W2"], p["b2"])
            h = layer_norm(h + found if residual else found, p["gamma2"], p["beta2"])
        arrived = torch.autograd.grad(h, inputs, grad_output)
    return [gradient.double().square().sum().sqrt().item() for gradient in arrived]
    ### END SOLUTION


# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_gradient_norms", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("gradient_norms") as check:

    def wave(rows, columns, speed):
        return torch.sin(speed * torch.arange(1, rows * columns + 1, dtype=torch.float64)).reshape(rows, columns)

    layers = [new_layer(4, 8, torch.Generator(), dtype=torch.float64) for _ in range(2)]
    for number, layer in enumerate(layers, start=1):
        layer |= {
            name: wave(*layer[name].shape, number + place / 7)
            for place, name in enumerate(("W_Q", "W_K", "W_V", "W_O", "W1", "W2"))
        }
    x, G = wave(3, 4, 0.9).requires_grad_(), wave(3, 4, 2.1)
    got = gradient_norms(x, layers, n_heads=2, grad_output=G)
    check.true("one number a layer", isinstance(got, (list, tuple)) and len(got) == 2, hint="a list, first layer first")
    check.equal(
        "two layers, with skips",
        [float(number) for number in got],
        [31.370211, 18.557634],
        within=1e-5,
        hint="the gradient at each layer's input, with grad_output arriving at the last output",
    )
    bare = gradient_norms(x, layers, n_heads=2, grad_output=G, residual=False)
    check.equal(
        "two layers, no skips",
        [float(number) for number in bare],
        [0.293004, 0.124169],
        within=1e-5,
        hint="leave out both additions and keep both norms",
    )
    cut = [layer | {"W_O": torch.zeros(4, 4).double()} for layer in layers]
    check.equal(
        "the tiny example",
        [float(number) for number in gradient_norms(x, cut, n_heads=2, grad_output=G, residual=False)],
        [0.0, 0.0],
        hint="without skips nothing gets past W_O = 0",
    )
    check.true(
        "x.grad is as before",
        x.grad is None and x.requires_grad,
        hint="torch.autograd.grad returns gradients, backward() leaves them behind",
    )

# %% [markdown]
# **Predict, then run.** Twelve layers, twelve tokens, random weights. Three gradients are sent in at the top:
#
# - *any*: random numbers;
# - *apart*: random numbers whose mean over the tokens is zero, so it says "this token more, that token less" and
#   nothing that is the same for all;
# - *sum*: ones, as if the loss were the sum of the outputs.
#
# How much of each reaches layer 1, with skips and without?

# %%
with picture(
    "gradient_norms",
    alt="Two line charts, logarithmic, twelve layers each. With skips the lines for any and apart stay level at about "
    "the size they were sent in. Without skips the line for any swings between layers, and the line for apart is a "
    "hundred billion times smaller or less. The line for sum is at rounding error in both.",
):
    generator = torch.Generator().manual_seed(0)
    layers = [new_layer(32, 64, generator, scale=0.5, dtype=torch.float64) for _ in range(12)]
    x, sent = (torch.randn(12, 32, generator=generator, dtype=torch.float64) for _ in range(2))
    sent = {"any": sent, "apart": sent - sent.mean(dim=0), "sum": torch.ones_like(sent)}
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for ax, residual, title in zip(axes, (True, False), ("with skips", "without skips")):
        for (name, G), color, style, size in zip(
            sent.items(), (Q_COLOR, K_COLOR, "black"), ("o-", "s--", "^:"), (9, 5, 5)
        ):
            arriving = gradient_norms(x, layers, n_heads=4, grad_output=G, residual=residual)
            visible = [max(float(number), 1e-17) for number in arriving]  # a logarithmic axis has no zero
            ax.semilogy(range(1, 13), visible, style, color=color, markersize=size, markerfacecolor="none", label=name)
        ax.set(title=title, xlabel="input of layer")
        ax.set_xticks(range(1, 13))
    axes[0].set_ylabel("norm of the gradient (log)")
    axes[1].legend(title="sent in at the top")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# With skips, level lines: every layer gets as much as the last one, that *apart* included. Without them *any* does not
# vanish, because each layer norm blows up again what had become small. But look at *apart*: it is gone, down at
# rounding error. Forwards, all tokens have become one vector (the collapse of section 6); backwards, what would tell
# them apart is averaged away. What arrives is big and says the same to every token: such a network can learn a mood,
# but no words. And *sum* is zero to the last digits everywhere, as announced.
# </details>
#
# ## 9 · In your own words
#
# ### Exercise 8 · why_residual · ★★☆ · 8 min
#
# Explain to someone who has done lessons 1 to 3 why a Transformer has residual connections. In about 150 words, and in
# this order:
#
# 1. What does the derivative of $x + f(x)$ have that the derivative of $f(x)$ lacks, and what does that mean after N
#    layers?
# 2. In your picture of exercise 7, *any* survives without skips. Why is the network lost all the same?
# 3. `residual=False` keeps both norms. Could layer norm alone replace the skips? Give a reason from one of your
#    pictures.
#
# It is read by a person; full sentences, formulas where they help.

# %% [markdown] nbgrader={"cell_type": "markdown", "grade": true, "grade_id": "why_residual", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
# ### BEGIN SOLUTION
# The derivative of $x + f(x)$ is $1 + f'(x)$; the 1 is what $f(x)$ alone lacks. After N layers the gradient is
# multiplied by $(1 + f'_N) \cdots (1 + f'_1)$. Multiplied out, it contains a bare 1 and a term for every subset of the
# layers, so whatever the weights are there is one way back that no weight can shrink. Without skips it is the single
# product $f'_N \cdots f'_1$, which vanishes or explodes exponentially in N (0.1 to the sixth against 1.1 to the
# sixth).
#
# Without skips *any* stays large since every layer norm divides by a small standard deviation and thereby multiplies
# the gradient again. But what is left is the same for all tokens: attention is averaging, a dozen averages make all
# tokens equal, and the part of the gradient that tells tokens apart is at rounding error. Nothing that depends on the
# single token can be learned.
#
# So layer norm cannot replace the skips: it restores a vector's size, not the difference between tokens. In the
# picture of exercise 7, right side, both norms are in place and *apart* is still lost; in section 6 the tokens'
# similarity goes to 1 where nothing carries each token along.
#
# **Rubric (10 points).** 4: derivative $1 + f'$ and its consequence over N layers, a product against a sum of paths (2
# if only one of the two). 3: names collapse, or averaging over tokens: the gradient that arrives no longer tells
# tokens apart (1 for "the gradient is erratic"). 3: layer norm restores scale only, with evidence from a picture of
# the notebook (1 without evidence). Full points for any order and any language; nothing off for length.
# ### END SOLUTION

# %% [markdown]
# ## Summary
#
# | idea | formula | why |
# | --- | --- | --- |
# | residual connection | `x + f(x)` | the gradient has a way past every block; each token carries itself along |
# | layer norm | `gamma * (x - mean) / sqrt(var + eps) + beta` | standard size for each token, whatever the batch |
# | batch norm | the same, over batch and seq | fine for images; mixes sentences, so not here |
# | feed-forward | `relu(x W1 + b1) W2 + b2` | computes on each token what attention has gathered |
# | encoder layer | `LN(x + MHA(x))`, then `LN(x1 + FFN(x1))` | exchange, then thought; post-norm as in the paper |
# | encoder | `sqrt(d_model) W_embed[ids] + PE`, then N layers | relations between relations |
# | parameters of a layer | `4 d_model² + 2 d_model d_ff + d_ff + 5 d_model` | two thirds are feed-forward |
# | gradient norms | at the input of each layer | level with skips; without them tokens cannot be told apart |

# %% [markdown]
# ## Ready to hand in?

# %%
ready(
    "layer_norm",
    "batch_norm",
    "feed_forward",
    "encoder_layer",
    "encoder",
    "count_parameters",
    "gradient_norms",
    written=("why_residual",),
)

# %% [markdown]
# ## What comes next
#
# You have built the encoder of the paper from nothing but tensors, and seen why each part of it is there. From here:
#
# - **A decoder** is the same layer with a causal mask (you have used one above) and a second attention, whose keys and
#   values come from an encoder. GPT is a stack of decoder layers without that second attention; BERT is the encoder
#   you have.
# - **Pre-norm**: move `layer_norm` in front of each block, `x + MHA(LN(x))`, and run exercise 7's picture again. What
#   changes near the last layer?
# - **Depth**: train the backwards writer with 1 layer, with 8, and with 8 and a lower learning rate.
# - Read the paper once more. There should be no sentence left in its section 3 about the encoder that you could not
#   write as a line of code.
