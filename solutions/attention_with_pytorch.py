# %% [markdown]
# # 2 · Attention with PyTorch
#
# In lesson 1 you built attention out of raw tensor operations, and carried four matrices by hand from call to call.
# Here the same mechanism becomes **modules**: objects that own their weights, can be trained, saved, moved to a
# GPU, and put together like bricks. All models that people really use are built this way.

# %% [markdown]
# # include: badge

# %% [markdown]
# ## What you will have built
#
# - `ScaledDotProductAttention`, one head of attention as an `nn.Module`, and `MultiHeadAttention` on top of the
#   same idea
# - `count_parameters`, which says how large a model is
# - `train_to_copy`, a complete training loop, with which your attention **learns**: you will see its weights turn
#   from a grey fog into a clean diagonal
# - `copy_builtin_weights`, the proof that your module and PyTorch's own `nn.MultiheadAttention` are the same
#   function
# - an answer, in your own words, to the question what the three levels of abstraction are good for
#
# **Time:** 60 to 90 minutes. **You need:** lesson 1, and classes in Python (`__init__`, `self`).
#
# | | Exercise | Points |
# |---|---|---|
# | 1 | `ScaledDotProductAttention` | 20 |
# | 2 | `MultiHeadAttention` | 30 |
# | 3 | `count_parameters` | 10 |
# | 4 | `train_to_copy` | 15 |
# | 5 | `copy_builtin_weights` | 15 |
# | 6 | `three_levels` (written) | 10 |
#
# Each exercise is one cell: replace `raise NotImplementedError` by your code, run the check cell below it, look at
# the picture. Helpers of your own may stand in any cell. A cell that is still open never breaks the ones after it.
# Hints are folded: open them one at a time, the first is often enough. Where it says **predict, then run**, write
# your guess down before you run the cell.

# %%
import math
import time

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)  # our tensors are small: more threads would spend their time waiting for each other

# %%
# include: _toolbox.py

# %% [markdown]
# ## 1 · From functions to modules
#
# **The problem.** `multi_head_attention(X, W_Q, W_K, W_V, W_O, n_heads)` needs four matrices in each call. A model
# with twelve layers has 48 of them, and somebody must make them, hand them to the optimiser, save them and move
# them to the GPU. An `nn.Module` is the answer: an object that **owns** its matrices and finds them again.
#
# The brick we need is `nn.Linear(d_in, d_out, bias=False)`. It owns one matrix and multiplies by it. There is one
# thing to know: it stores the matrix **transposed**, one row for each *output*:
#
# $$\text{linear}(X) = X \, A^\top, \qquad A = \texttt{linear.weight}, \quad A \text{ is } (d_{out}, d_{in})$$
#
# So our $Q = X W_Q$ becomes `Q = W_Q(X)`, and `W_Q.weight` is the transpose of the matrix that lesson 1 called
# `W_Q`.
#
# **A tiny worked example.** From three numbers to two: the first output is the first plus the third number, the
# second is twice the second. The matrix that acts from the right is
#
# $$W = \begin{pmatrix} 1 & 0 \\ 0 & 2 \\ 1 & 0 \end{pmatrix}, \qquad (5, 6, 7)\, W = (5 + 7,\; 2 \cdot 6) = (12, 12)$$

# %% [markdown]
# **Predict, then run.** Which shape has `linear.weight` below: `(3, 2)` or `(2, 3)`? Which shape has the result for
# an `x` of shape `(10, 4, 3)`?

# %%
linear = nn.Linear(3, 2, bias=False)
W = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
linear.load_state_dict({"weight": W.T})

print("linear.weight:      ", tuple(linear.weight.shape))
print("(5, 6, 7) goes to:  ", linear(torch.tensor([5.0, 6.0, 7.0])).tolist())
print("(10, 4, 3) goes to: ", tuple(linear(torch.zeros(10, 4, 3)).shape))

# %% [markdown]
# <details><summary>What happened</summary>
#
# `(2, 3)`: one row for each output. Only the last dimension is touched, all others are batch dimensions:
# `(10, 4, 2)`.
#
# </details>
#
# A module of your own has two methods. `__init__` makes the parts and stores them in `self`: that is how PyTorch
# learns that they belong to the module. `forward` says what happens to the input; it runs when the module is
# *called*, `module(x)`. Here is one with two parts that has nothing to do with attention:

# %%
class Bottleneck(nn.Module):
    """Squeezes d numbers into two and spreads them out again: (..., d) -> (..., d)."""

    def __init__(self, d):
        super().__init__()
        self.squeeze = nn.Linear(d, 2, bias=False)
        self.spread = nn.Linear(2, d, bias=False)

    def forward(self, x):
        return self.spread(torch.tanh(self.squeeze(x)))


bottleneck = Bottleneck(5)
print("result:    ", tuple(bottleneck(torch.zeros(7, 5)).shape))
print("state dict:", {name: tuple(tensor.shape) for name, tensor in bottleneck.state_dict().items()})

# %% [markdown]
# The **state dict** is the module's memory: each weight under the name of the attribute that owns it. It is what
# people save to disk and share, so names matter: a file whose names differ from the module's cannot be loaded.
#
# Two small helpers for the checks and pictures of this lesson:

# %%
def set_weights(module, **matrices):
    """Load hand-made matrices into the linears of a module, each written (d_in, d_out) as in Q = X @ W_Q."""
    module.load_state_dict({f"{name}.weight": torch.as_tensor(matrix).T for name, matrix in matrices.items()})
    return module


def seeded(module, seed):
    """Fill a module with the same random numbers each time, so that pictures can be compared."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=generator)
    return module

# %% [markdown]
# ## 2 · What your code promises
#
# These rules hold in every exercise of this lesson, so that your modules can be trusted inside any larger model.
# The hidden tests check exactly what this notebook promises, and nothing else. Right values come first: the points
# for manners can only be earned in proportion to them.
#
# **Shapes**
# - `X` may have any leading batch dimensions, or none: its shape is `(..., seq, d_model)`, and a sequence may be
#   one token long.
# - Nothing may be assumed contiguous: `X` and the mask may be slices, transposed or expanded tensors.
#
# **The mask**
# - `mask` is boolean, and **True means blocked**, as in `nn.MultiheadAttention`. (`F.scaled_dot_product_attention`
#   has it the other way round: there True means *may attend*. Section 7 shows what happens to those who forget.)
# - The mask broadcasts to the scores by torch's rule and nothing more. One head: `(seq, seq)` or `(..., seq, seq)`.
#   With heads: the scores are `(..., n_heads, seq, seq)`, so a mask for each batch element is
#   `(batch, 1, seq, seq)`.
# - A blocked position gets a weight of exactly zero.
# - A query that may attend to nothing gets weights and an output of exactly zero, and so are its gradients: never
#   NaN.
#
# **Numbers**
# - Results keep the dtype and the device of `X`, in float16, bfloat16, float32 and float64, once the module has
#   been moved there by `module.to(...)`; and they are as accurate as that dtype allows.
# - Scores of ten thousand and more give correct weights, no NaN and no infinity.
# - Gradients flow to `X` and to every parameter of the module.
#
# **Manners**
# - Nothing that you are given is changed: not `X`, not the mask, not their `requires_grad` or `.grad`.
# - The result depends on the arguments and the weights alone: not on an earlier call, on `train()` or `eval()`, on
#   the default dtype, on the random seed, or on whether gradients are recorded. And your code leaves all of these
#   as it found them.
# - A module's state dict holds the weights of the named linears and nothing else.
#
# **Not allowed** inside the exercises, under any name or spelling: attention that is ready made, such as
# `nn.MultiheadAttention`, `nn.Transformer...`, `F.scaled_dot_product_attention` or
# `F.multi_head_attention_forward`. Everything else from `torch.nn` is welcome now, `F.softmax` included. In your
# own experiments outside the exercises, use what you like.

# %% [markdown]
# ## 3 · One head as a module
#
# **The problem.** Every token should look at all tokens, decide how much each one matters to it, and take the
# mixture. In lesson 1 the matrices came from outside. Now the module owns them, and training can change them.
#
# $$Q = X W_Q, \qquad K = X W_K, \qquad V = X W_V$$
#
# $$\text{weights} = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right),
# \qquad \text{output} = \text{weights} \; V$$
#
# | | shape | |
# |---|---|---|
# | `X` | `(..., seq, d_model)` | the tokens |
# | `Q`, `K` | `(..., seq, d_k)` | what a token looks for, and what it offers to be found by |
# | `V` | `(..., seq, d_v)` | what it hands over when found |
# | scores, `weights` | `(..., seq, seq)` | row = the query that looks, column = the key that is looked at |
# | `output` | `(..., seq, d_v)` | one mixture for each query |
#
# **A tiny worked example.** Two tokens with $d_k = 4$, so that we divide by $\sqrt 4 = 2$. Say the first query has
# dot products $0$ and $2 \ln 2$ with the two keys, and the values of the tokens are $3$ and $6$.
#
# $$\text{scores} = \frac{(0,\; 2 \ln 2)}{2} = (0, \ln 2) \quad\to\quad \text{weights} = \frac{(1, 2)}{3}
# \quad\to\quad \text{output} = \frac13 \cdot 3 + \frac23 \cdot 6 = 5$$
#
# If the second token is blocked, the weights are $(1, 0)$ and the output is $3$. And if *both* are blocked? By our
# promise the weights are $(0, 0)$ and the output is $0$. The softmax alone does not do that for you:

# %% [markdown]
# **Predict, then run.** We block by sending scores to minus infinity. What does the softmax make of a row in which
# one score survives? Of one in which none does? And what gradient does the second row send back?

# %%
scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
penalty = torch.tensor([[-math.inf, 0.0, -math.inf], [-math.inf, -math.inf, -math.inf]])

row_by_row = F.softmax(scores + penalty, dim=-1)
row_by_row[:, 1].sum().backward()
print("weights: ", row_by_row.tolist())
print("gradient:", scores.grad.tolist())

# %% [markdown]
# <details><summary>What happened</summary>
#
# One survivor takes all the weight. With none, the softmax computes 0 / 0: the row is NaN, and so is its gradient.
# One such row is enough to ruin a training run, because the next update writes NaN into every weight. Padding makes
# such rows all the time: a sentence shorter than its batch has positions that nobody may look at. Your module has
# to take care of them, on the way forward *and* on the way back.
#
# </details>

# %% [markdown]
# ### Exercise 1 · ScaledDotProductAttention · ★★☆ · 14 min
#
# One head of attention. The module has three linears without bias, named `W_Q`, `W_K` (from `d_model` to `d_k`) and
# `W_V` (from `d_model` to `d_v`). Calling it with `X` and an optional `mask` returns the pair `(output, weights)`;
# the scores are divided by $\sqrt{d_k}$.
#
# `d_v` may differ from `d_k`, and both from `d_model`; any of them may be odd, or 1. All promises of section 2
# hold.
#
# <details><summary>Hint 1: where do I begin?</summary>
#
# `__init__` makes three parts and stores them under three names; look at `Bottleneck` above. `forward` is the three
# lines of formulas, from the top to the bottom. The names of the attributes are the names in the state dict.
#
# </details>
# <details><summary>Hint 2: the mask</summary>
#
# A tensor has a method that gives back a copy with chosen entries overwritten by one number (it has "fill" in its
# name). What must blocked *scores* be, before the softmax, so that they count for nothing? It stops gradients, too:
# none flows into an entry that was overwritten.
#
# </details>
# <details><summary>Hint 3: rows in which everything is blocked</summary>
#
# After the softmax you know two things about each blocked *weight*: what it has to be, and where it is. In an
# ordinary row it is so already. In a row of NaN every entry is a blocked one.
#
# </details>
# <details><summary>Hint 4: a sketch in words and shapes</summary>
#
# 1. three linears applied to X: Q and K are (..., seq, d_k), V is (..., seq, d_v)
# 2. Q times K with its last two dimensions swapped, over the root of d_k: scores (..., seq, seq)
# 3. if there is a mask: overwrite blocked scores by minus infinity
# 4. softmax over the keys, the last dimension: weights (..., seq, seq)
# 5. if there is a mask: overwrite blocked weights by zero
# 6. weights times V: output (..., seq, d_v); return both
#
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "ScaledDotProductAttention", "locked": false, "points": 20, "schema_version": 3, "solution": true, "task": false}
class ScaledDotProductAttention(nn.Module):
    """One head of attention, with bias-free linears W_Q, W_K and W_V.

    Shape:
        X: (..., seq, d_model)
        mask: bool, broadcasts to (..., seq, seq), True = blocked
        returns: output (..., seq, d_v), weights (..., seq, seq)
    """

    def __init__(self, d_model, d_k, d_v):
        super().__init__()
        ### BEGIN SOLUTION
        self.W_Q = nn.Linear(d_model, d_k, bias=False)
        self.W_K = nn.Linear(d_model, d_k, bias=False)
        self.W_V = nn.Linear(d_model, d_v, bias=False)
        ### END SOLUTION

    def forward(self, X, mask=None):
        ### BEGIN SOLUTION
        Q, K, V = self.W_Q(X), self.W_K(X), self.W_V(X)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])  # (..., seq, seq)
        if mask is not None:
            scores = scores.masked_fill(mask, -math.inf)
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)  # NaN where all is blocked; no gradient passes the two fills
        return weights @ V, weights
        ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_ScaledDotProductAttention", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("ScaledDotProductAttention") as check:
    head = ScaledDotProductAttention(2, 4, 3)
    check.equal("names in the state dict", sorted(head.state_dict()),
                ["W_K.weight", "W_Q.weight", "W_V.weight"],
                hint="three linears without bias, stored as self.W_Q, self.W_K and self.W_V, and nothing else")
    check.shape("W_V.weight", head.W_V.weight, (3, 2),
                hint="W_V leads from d_model numbers to d_v numbers")
    set_weights(head, W_Q=[[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
                W_K=[[0.0, 0.0, 0.0, 0.0], [math.log(3), 0.0, 0.0, 0.0]],
                W_V=[[4.0, 0.0, 8.0], [0.0, 4.0, 8.0]])
    X = torch.eye(2)
    result = head(X)
    check.true("forward returns a pair (output, weights)", isinstance(result, tuple) and len(result) == 2)
    output, weights = result
    check.equal("weights of two tokens, by hand", weights, torch.tensor([[0.25, 0.75], [0.5, 0.5]]),
                hint="divide by the root of d_k, which is 2 here, and let each row (query) sum to 1")
    check.equal("output of two tokens, by hand", output, torch.tensor([[1.0, 3.0, 8.0], [2.0, 2.0, 8.0]]),
                hint="the output is weights @ V")
    future = torch.tensor([[False, True], [False, False]])
    output, weights = head(X, mask=future)
    check.equal("weights where the future is blocked", weights, torch.tensor([[1.0, 0.0], [0.5, 0.5]]),
                hint="True means blocked, and what is left sums to 1")
    tracked = torch.eye(2).requires_grad_()
    output, weights = head(tracked, mask=torch.tensor([[True, True], [False, False]]))
    check.equal("a query that may attend to nothing", weights, torch.tensor([[0.0, 0.0], [0.5, 0.5]]),
                hint="exact zeros; a softmax over nothing but minus infinity is NaN")
    output.sum().backward()
    check.true("its gradients", tracked.grad is not None and tracked.grad.isfinite().all(),
               hint="NaN on the way back: the overwritten scores must not pass a gradient on")
    output, weights = head(torch.ones(6, 5, 7, 2), mask=torch.zeros(7, 7, dtype=torch.bool))
    check.shape("output for X of shape (6, 5, 7, 2)", output, (6, 5, 7, 3),
                hint="swap the last two dimensions, not 0 and 1")
    check.equal("dtype", head.double()(X.double())[0].dtype, torch.float64,
                hint="let every number come from X and the weights")

# %%
with picture("ScaledDotProductAttention", alt="Three heat maps of attention weights between six tokens: "
             "without a mask every square is filled; with the causal mask only the lower triangle is; "
             "with query 2 blocked, its row is all zero."):
    n = 6
    X = torch.randn(n, 8, generator=torch.Generator().manual_seed(3))
    head = seeded(ScaledDotProductAttention(8, 8, 4), seed=2)
    causal = torch.ones(n, n, dtype=torch.bool).triu(1)
    silent = causal.clone()
    silent[2] = True
    masks = {"no mask": None, "causal mask": causal, "causal, and query 2 silenced": silent}
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True)
    for ax, (title, mask) in zip(axes, masks.items(), strict=True):
        ylabel = "query (looking)" if ax is axes[0] else ""
        weights = head(X, mask=mask)[1]
        image = heatmap(ax, weights, title, "key (looked at)", ylabel, range(n), range(n), vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="attention weight")

# %% [markdown]
# Each row is one query and sums to 1, but for the silenced one: its row is zero. In the causal picture the first
# token has no choice but itself.

# %% [markdown]
# ## 4 · Many heads in one module
#
# **The problem.** One head has one opinion on what matters. A verb may want its subject *and* its object, at once.
# So we run `n_heads` small heads side by side, each on its own part of Q, K and V, and let a last matrix `W_O` mix
# what they found.
#
# $$\text{head}_h = \text{softmax}\!\left(\frac{Q_h K_h^\top}{\sqrt{d_{head}}}\right) V_h,
# \qquad d_{head} = \frac{d_{model}}{n_{heads}}$$
#
# $$\text{output} = [\,\text{head}_0, \dots, \text{head}_{n_{heads}-1}\,]\; W_O$$
#
# Head $h$ owns the columns `h*d_head` to `(h+1)*d_head` of Q, K and V. All four matrices are `(d_model, d_model)`,
# so four linears do for all heads together, and the batched matrix product treats the heads as one more batch
# dimension.
#
# **A tiny worked example.** Three tokens, `d_model = 4`, two heads with `d_head = 2`. What does head 1 own? Each
# number says where it comes from: 12 is token 1, column 2.

# %% [markdown]
# **Predict, then run.** Cutting up the memory directly into `(n_heads, seq, d_head)` looks as if it did the job.
# Does head 1 get columns 2 and 3 of each token?

# %%
numbered = torch.tensor([[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]])  # (seq, d_model)
print("head 1 should own", numbered[:, 2:4].tolist())
print("reshape gives it ", numbered.reshape(2, 3, 2)[1].tolist())

with picture("two_ways_to_cut", alt="Two tables of three tokens by four columns, coloured by head. On the "
             "left, head 0 has the two left columns and head 1 the two right ones. On the right, the "
             "colours run across tokens."):
    by_columns = torch.tensor([[0, 0, 1, 1]] * 3)
    by_memory = torch.arange(12).reshape(3, 4) // 6
    figure, axes = plt.subplots(1, 2, figsize=(7.5, 2.8))
    cuts = ("right: by columns", by_columns), ("wrong: by memory order", by_memory)
    for ax, (title, owner) in zip(axes, cuts, strict=True):
        heatmap(ax, owner, title, "column of Q", "token", range(4), range(3), vmin=-0.4, vmax=1.4)
        for token in range(3):
            for column in range(4):
                which = owner[token, column].item()
                label = f"{numbered[token, column].item():02d}\nhead {which}"
                ax.text(column, token, label, ha="center", va="center", color="black" if which else "white")

# %% [markdown]
# <details><summary>What happened</summary>
#
# No: `reshape` keeps the order in memory, so the first head would get all of token 0 and half of token 1. The last
# dimension has to be split into `(n_heads, d_head)` where it stands, and only then may the heads move to the front.
# On the way back the same two steps are undone in the opposite order.
#
# </details>

# %% [markdown]
# ### Exercise 2 · MultiHeadAttention · ★★★ · 18 min
#
# All heads in one module. It has four linears without bias, `W_Q`, `W_K`, `W_V` and `W_O`, each from `d_model` to
# `d_model`. Calling it with `X` and an optional `mask` returns `(output, weights)`: the output is
# `(..., seq, d_model)`, the weights are `(..., n_heads, seq, seq)`, one map a head.
#
# - Head `h` owns the columns `h*d_head` to `(h+1)*d_head` of Q, K and V, and of what `W_O` mixes.
# - The scores of each head are divided by $\sqrt{d_{head}}$.
# - Where `d_model` is not divisible by `n_heads`, `MultiHeadAttention(d_model, n_heads)` raises a `ValueError`.
# - All promises of section 2 hold.
#
# No loop over heads is needed: let the matrix product do all of them at once. (That is good advice, and no points
# hang on it.)
#
# <details><summary>Hint 1: what is new?</summary>
#
# Between the brackets of the formula stands your first exercise. New are three things: a check in `__init__`,
# cutting into heads before, and putting together after. Remember `n_heads` in `self`: a plain number there is no
# parameter and does not show up in the state dict.
#
# </details>
# <details><summary>Hint 2: cutting</summary>
#
# You wrote `split_heads` and `merge_heads` in lesson 1. If the heads come *before* the sequence, the last two
# dimensions are those of one head, and the scores, the softmax and the mixture need no change at all.
#
# </details>
# <details><summary>Hint 3: putting together</summary>
#
# After swapping heads and sequence back, the numbers of one token do not lie side by side in memory any more. Some
# ways to join dimensions refuse then (`view`), others copy where they must (`reshape`, `flatten`).
#
# </details>
# <details><summary>Hint 4: a sketch in words and shapes</summary>
#
# 1. in `__init__`: a remainder means ValueError; four linears d_model to d_model
# 2. three linears applied to X: (..., seq, d_model) each
# 3. cut the last dimension in two, (..., seq, n_heads, d_head), and swap: (..., n_heads, seq, d_head)
# 4. scores over the root of d_head, mask, softmax, mask again: (..., n_heads, seq, seq)
# 5. times V: (..., n_heads, seq, d_head); swap back; join the last two: (..., seq, d_model)
# 6. through W_O; return the result and the weights
#
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "MultiHeadAttention", "locked": false, "points": 30, "schema_version": 3, "solution": true, "task": false}
class MultiHeadAttention(nn.Module):
    """n_heads heads of attention side by side, with bias-free linears W_Q, W_K, W_V and W_O.

    Shape:
        X: (..., seq, d_model)
        mask: bool, broadcasts to (..., n_heads, seq, seq), True = blocked
        returns: output (..., seq, d_model), weights (..., n_heads, seq, seq)
    """

    def __init__(self, d_model, n_heads):
        super().__init__()
        ### BEGIN SOLUTION
        if d_model % n_heads:
            raise ValueError(f"d_model must be divisible by n_heads, got {d_model} and {n_heads}")
        self.n_heads = n_heads
        self.W_Q, self.W_K, self.W_V, self.W_O = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        ### END SOLUTION

    def forward(self, X, mask=None):
        ### BEGIN SOLUTION
        projections = self.W_Q(X), self.W_K(X), self.W_V(X)
        d_head = X.shape[-1] // self.n_heads
        Q, K, V = (P.unflatten(-1, (self.n_heads, d_head)).transpose(-3, -2) for P in projections)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(d_head)  # (..., n_heads, seq, seq)
        if mask is not None:
            scores = scores.masked_fill(mask, -math.inf)
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask, 0.0)
        joined = (weights @ V).transpose(-3, -2).flatten(-2)  # (..., seq, d_model)
        return self.W_O(joined), weights
        ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_MultiHeadAttention", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("MultiHeadAttention") as check:
    check.raises("5 numbers on 2 heads", ValueError, lambda: MultiHeadAttention(5, 2),
                 hint="raise ValueError in __init__ where d_model is not divisible by n_heads")
    mha = MultiHeadAttention(4, 2)
    check.equal("names in the state dict", sorted(mha.state_dict()),
                ["W_K.weight", "W_O.weight", "W_Q.weight", "W_V.weight"],
                hint="four linears without bias, and nothing else")
    nothing, reverse = torch.zeros(4, 4), torch.eye(4).flip(0)
    W_Q, W_K, W_V = nothing.clone(), nothing.clone(), nothing.clone()
    W_Q[0, 2], W_K[1, 2] = math.sqrt(2), math.log(3)
    W_V[0] = torch.tensor([4.0, 8.0, 4.0, 8.0])
    set_weights(mha, W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=reverse)
    X = torch.eye(4)[:2]
    output, weights = mha(X)
    check.shape("weights of two tokens and two heads", weights, (2, 2, 2),
                hint="(..., n_heads, seq, seq): heads before tokens")
    check.equal("head 0 sees zero scores and weighs all alike", weights[0], torch.full((2, 2), 0.5),
                hint="head 0 owns columns 0 and 1 of Q and K, which are zero here")
    check.equal("head 1, by hand", weights[1], torch.tensor([[0.25, 0.75], [0.5, 0.5]]),
                hint="divide by the root of d_head, which is the root of 2 here")
    check.equal("output, by hand", output, torch.tensor([[2.0, 1.0, 4.0, 2.0], [4.0, 2.0, 4.0, 2.0]]),
                hint="swap heads and tokens back before you join the last two dimensions, then apply W_O once")
    mask = torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    mask[1, 0, 0, 1] = True
    mask[2, 0, 0] = True
    output, weights = mha(X.expand(3, 2, 4), mask=mask)
    first_row = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.0, 0.0]])
    check.equal("a mask for each batch element", weights[:, 1, 0], first_row,
                hint="True = blocked; all blocked = exact zeros")
    check.equal("output where all is blocked", output[2, 0], torch.zeros(4),
                hint="weights of zero make an output of zero")
    tracked = torch.ones(6, 5, 7, 4, requires_grad=True)
    output, weights = mha(tracked, mask=torch.ones(7, 7, dtype=torch.bool))
    check.shape("output for X of shape (6, 5, 7, 4)", output, (6, 5, 7, 4),
                hint="count dimensions from the end: -2, -3")
    output.sum().backward()
    check.equal("gradients where all is blocked", tracked.grad, torch.zeros(6, 5, 7, 4),
                hint="zero, never NaN")

# %%
with picture("MultiHeadAttention", alt="Four heat maps, one for each head, of the causal attention weights "
             "between six tokens. All are lower triangles, and each has its own pattern."):
    n, n_heads = 6, 4
    X = torch.randn(n, 16, generator=torch.Generator().manual_seed(3))
    causal = torch.ones(n, n, dtype=torch.bool).triu(1)
    weights = seeded(MultiHeadAttention(16, n_heads), seed=1)(X, mask=causal)[1]
    figure, axes = plt.subplots(1, n_heads, figsize=(10, 3.1), sharey=True)
    for h, ax in enumerate(axes):
        ylabel = "query" if h == 0 else ""
        image = heatmap(ax, weights[h], f"head {h}", "key", ylabel, range(n), range(n), vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="attention weight")

# %% [markdown]
# Four heads, four opinions, though nothing has been learned yet: these are random weights. That they *differ* is
# the point of having more than one.

# %% [markdown]
# ## 5 · Looking inside a module
#
# **The problem.** "How large is your model?" is the first question that anybody asks, and "why does it not learn?"
# the second. Both are answered by looking at the parameters.
#
# A `nn.Parameter` is a tensor with a flag, `requires_grad`. Where the flag is True, the parameter is **trainable**;
# a parameter whose flag was set to False is **frozen**, and gradients are not computed for it.
# `module.named_parameters()` lists them all, those of parts within parts
# included.

# %%
model = nn.Sequential(nn.Embedding(10, 6), Bottleneck(6), nn.Linear(6, 10))
model[0].weight.requires_grad_(False)  # freeze the embedding

print(f"{'name':<20}{'shape':<12}{'dtype':<16}{'device':<8}trainable")
for name, p in model.named_parameters():
    print(f"{name:<20}{tuple(p.shape)!s:<12}{p.dtype!s:<16}{p.device!s:<8}{p.requires_grad}")

# %% [markdown]
# `module.to(torch.float64)` and `module.to("cuda")` change all of them at once. Your modules can do it as well: you
# have not written a line for it. It came with `nn.Module`.
#
# **Counting.** One bias-free linear has $d_{in} \cdot d_{out}$ numbers, so multi-head attention has
#
# $$4 \cdot d_{model}^2 \qquad \text{(for } W_Q, W_K, W_V, W_O\text{)}$$
#
# **A tiny worked example.** `nn.Linear(4, 3)` has $4 \cdot 3 = 12$ weights and $3$ biases: 15 parameters. With its
# bias frozen, 12 of them are trainable. If the same linear stands in a model *twice*, it still has the 15 it owns:
# the second place is only another way to reach them. Language models do this, and use one table both to read words
# and to write them.

# %% [markdown]
# **Predict, then run.** `shared` and `shared` again in one model: how many entries has the state dict? How many
# matrices are in memory? And: has attention with 8 heads more numbers than with 1?

# %%
shared = nn.Linear(4, 4, bias=False)
twice = nn.Sequential(shared, nn.Tanh(), shared)
print("entries in the state dict:", list(twice.state_dict()))
print("one and the same matrix:  ", twice[0].weight is twice[2].weight)
for n_heads in (1, 8):
    ready_made = nn.MultiheadAttention(64, n_heads, bias=False)
    print(n_heads, "head(s):", {name: tuple(weight.shape) for name, weight in ready_made.state_dict().items()})

# %% [markdown]
# <details><summary>What happened</summary>
#
# Two entries, one matrix: a state dict lists *places*, so whoever counts there counts twice. The number of heads
# changes nothing: more heads are smaller heads, cut from the same four matrices.
#
# </details>

# %% [markdown]
# ### Exercise 3 · count_parameters · ★☆☆ · 5 min
#
# How many trainable numbers has a module? `count_parameters(module)` takes any `nn.Module`, of any dtype and on any
# device, and returns an int.
#
# - Only trainable parameters count: what is frozen does not.
# - Parts within parts count as well, at any depth.
# - A parameter that is shared, so that it stands at several places in the module, counts once. (Two parameters that
#   happen to hold equal values are not shared: they are two.)
# - A module without trainable parameters has 0 of them.
# - Counting changes nothing in the module.
#
# <details><summary>Hint 1: what to go through</summary>
#
# The state dict knows neither who is frozen nor who is shared. A module has an iterator over its parameters which
# knows both; what does it do with one that it meets for the second time? Try it on `twice`.
#
# </details>
# <details><summary>Hint 2: a sketch in words</summary>
#
# Go through the parameters; leave out those whose flag is off; ask each of the others for its number of elements;
# add up.
#
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "count_parameters", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
def count_parameters(module):
    """The number of trainable numbers in a module; what is shared counts once.

    Shape:
        module: any nn.Module, its parameters of any shape
        returns: int
    """
    ### BEGIN SOLUTION
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_count_parameters", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("count_parameters") as check:
    layer = nn.Linear(4, 3)
    check.equal("a linear with bias", count_parameters(layer), 15, hint="12 weights and 3 biases")
    nested = nn.Sequential(nn.Sequential(nn.Linear(4, 3)), nn.Linear(3, 2))
    check.equal("parts within parts", count_parameters(nested), 23, hint="15 + 8")
    layer.bias.requires_grad_(False)
    check.equal("a frozen bias", count_parameters(layer), 12, hint="count only what is trainable")
    check.equal("the same linear twice", count_parameters(nn.Sequential(layer, nn.Tanh(), layer)), 12,
                hint="a shared parameter counts once; the state dict would list it twice")
    check.equal("a module without parameters", count_parameters(nn.Tanh()), 0)

# %%
with picture("count_parameters", alt="Left: stacked bars for 1, 2, 4 and 8 heads, all equally high, 16,384 "
             "parameters, each made of four equal parts. Right: the number of parameters grows with the "
             "square of d_model, on the curve 4 d_model squared."):
    parts = {"W_Q": Q_COLOR, "W_K": K_COLOR, "W_V": V_COLOR, "W_O": OUTPUT_COLOR}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for x, n_heads in enumerate((1, 2, 4, 8)):
        mha, height = MultiHeadAttention(64, n_heads), 0
        for name, colour in parts.items():
            size = count_parameters(getattr(mha, name))
            left.bar(x, size, bottom=height, color=colour, edgecolor="white")
            ink = "black" if colour == OUTPUT_COLOR else "white"
            left.text(x, height + size / 2, name, ha="center", va="center", color=ink)
            height += size
    left.set(title="d_model = 64: heads cost nothing", xlabel="n_heads", ylabel="trainable parameters")
    left.set_xticks(range(4), (1, 2, 4, 8))
    sizes = range(16, 257, 16)
    right.plot(sizes, [4 * d**2 for d in sizes], color="grey", label="4 · d_model²")
    counted = [count_parameters(MultiHeadAttention(d, 8)) for d in sizes]
    right.plot(sizes, counted, "o", color="black", markersize=4, label="counted by your function")
    right.set(title="Width costs its square", xlabel="d_model", ylabel="trainable parameters")
    right.legend()

# %% [markdown]
# ## 6 · Learning to copy
#
# **The problem.** So far the weights are random and the attention is fog. Let us teach the module something whose
# answer we know: give back its own input. For a single matrix that would be dull. For attention it is not: each
# output is a *mixture* of tokens, so to copy its input the module must find out that each token should look at
# **itself**, and that `W_O` has to undo what `W_V` did.
#
# A training loop is always the same four steps:
#
# | step | | what happens |
# |---|---|---|
# | 1 | forward | compute the output from `X` |
# | 2 | loss | one number: how wrong is it? |
# | 3 | backward | the gradient of that number for each parameter, into its `.grad` |
# | 4 | update | move each parameter a little, against its gradient |
#
# The loss is the mean squared error over all $N$ numbers of `X`; the update is Adam's, with `lr` as its step size:
#
# $$\text{loss} = \frac{1}{N} \sum_{i} (\text{output}_i - X_i)^2$$
#
# Step 3 *adds* to what stands in `.grad`, so the old gradients have to be cleared once in each round.
#
# **A tiny worked example.** A module with a single number: $\text{output} = w X$, with $w = 0$ and $X = (1, 1)$.
# The loss is $\frac{1}{2}(1 + 1) = 1$ and its slope is $-2$. Plain gradient descent would move by `lr` times 2. And
# Adam?

# %% [markdown]
# **Predict, then run.** Three numbers whose gradients are $-2$, $-0.002$ and $50$, one step of Adam with
# `lr = 0.1`. How far does each move?

# %%
w = torch.zeros(3, requires_grad=True)
adam = torch.optim.Adam([w], lr=0.1)
(w * torch.tensor([-2.0, -0.002, 50.0])).sum().backward()
adam.step()
print("after one step:", [round(value, 4) for value in w.tolist()])

# %% [markdown]
# <details><summary>What happened</summary>
#
# All move by 0.1! Adam divides each gradient by its own running size, so the first step is `lr` for everyone, and
# only the sign counts. This is why it needs so little tuning. So our $w$ becomes $0.1$, and the next loss is
# $(0.1 - 1)^2 = 0.81$.
#
# </details>

# %% [markdown]
# ### Exercise 4 · train_to_copy · ★★☆ · 12 min
#
# `train_to_copy(module, X, steps, lr)` trains `module` for `steps` steps so that `module(X)[0]` comes close to `X`,
# and returns the losses.
#
# - It uses Adam, with torch's defaults for all but `lr`, over the trainable parameters of the module, on the mean
#   squared error of `module(X)[0]` against `X`.
# - It returns a list of floats, one loss a step; each is measured **before** that step's update. With `steps=0` the
#   list is empty and nothing is trained.
# - The module itself is trained, in place: after the call it holds the learned weights, in the dtype and on the
#   device that they had.
# - What was frozen stays so: neither its values nor its flag change.
# - Each call starts afresh: with a new Adam, and gradients that were left in the parameters by earlier work do not
#   count.
# - `X` is as it was before, its `.grad` included, even where `X.requires_grad` is True.
# - `module` is any module that returns a tuple with the output first; it has at least one trainable parameter, and
#   stays in its `train()` or `eval()` mode.
# - It works in float32 and float64, and the first loss is right in float16 and bfloat16 as well. (More is not
#   promised there: Adam's tiny `eps` rounds to zero in float16.)
#
# <details><summary>Hint 1: before the loop</summary>
#
# The optimiser is made once, not in each round: it remembers running averages. It is given the parameters it may
# change. Which are those? You filtered them in exercise 3.
#
# </details>
# <details><summary>Hint 2: inside the loop</summary>
#
# Four lines for the four steps, and one that clears old gradients before new ones arrive. To remember a loss as a
# plain number, ask the one-element tensor for its `item`; the tensor itself would keep the whole computation in
# memory.
#
# </details>
# <details><summary>Hint 3: when X itself wants gradients</summary>
#
# Then the backward step reaches `X` too, and writes into its `.grad`. A tensor can give you a twin that shares its
# numbers and not its history. Train on the twin.
#
# </details>
# <details><summary>Hint 4: a sketch in words</summary>
#
# A twin of X without history. A list of the parameters whose flag is on; an Adam over them. As many times as there
# are steps: the first thing that the module returns; its mean squared error against the twin; clear; backward;
# update; note the number. Return the notes.
#
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "train_to_copy", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def train_to_copy(module, X, steps, lr):
    """Train the module to give back its input, with Adam on the mean squared error.

    Shape:
        X: (..., seq, d_model), input and target at once; module(X)[0] has the same shape
        returns: list of `steps` floats, the loss before each update
    """
    ### BEGIN SOLUTION
    X = X.detach()
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(module(X)[0], X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_train_to_copy", "locked": true, "schema_version": 3, "solution": false, "task": false}
class TinyModel(nn.Module):
    """output = w X + offset: a trainable number and a frozen one. Returns a pair, as attention does."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0))
        self.offset = nn.Parameter(torch.tensor(0.0), requires_grad=False)

    def forward(self, X):
        return self.w * X + self.offset, None


with checking("train_to_copy") as check:
    tiny, ones = TinyModel(), torch.ones(1, 2, requires_grad=True)
    losses = train_to_copy(tiny, ones, steps=2, lr=0.1)
    check.true("a list with one loss for each step", isinstance(losses, (list, tuple)) and len(losses) == 2)
    check.equal("losses by hand", [float(value) for value in losses], [1.0, 0.81],
                hint="note the loss that led to an update, not the one after it; divide by the number of entries")
    check.true("the parameter has moved", tiny.w.item() > 0.15,
               hint="each step must update the module's own parameters")
    check.true("the frozen offset has not", tiny.offset.item() == 0 and not tiny.offset.requires_grad)
    check.true("X is left alone", ones.grad is None, hint="no gradient may end up in X")
    tiny.w.grad = torch.tensor(1e6)
    again = train_to_copy(tiny, ones, steps=30, lr=0.1)
    check.true("more steps, smaller loss", again[-1] < 0.02 < again[0],
               hint="is the optimiser made once, and are old gradients cleared in each round?")
    check.equal("no steps, no losses", list(train_to_copy(tiny, ones, steps=0, lr=0.1)), [])

# %% [markdown]
# ### The loss curve
#
# Now your attention learns. 128 sequences of 6 random tokens each, two heads, 200 steps. Random tokens have a mean
# square of 1, so a module that answers zero to everything has a loss of about 1: that is the line to beat. Random
# weights do worse than that at first.

# %%
X_train = torch.randn(128, 6, 16, generator=torch.Generator().manual_seed(0))

with picture("train_to_copy", alt="Three loss curves over 200 steps on a logarithmic axis, for step sizes "
             "0.0003, 0.003 and 0.03. All start a little above 1; the largest step size falls fastest "
             "and ends lowest, the smallest has hardly left the start."):
    figure, ax = plt.subplots(figsize=(8, 3.8))
    for lr, style in ((3e-4, ":"), (3e-3, "--"), (3e-2, "-")):
        losses = train_to_copy(seeded(MultiHeadAttention(16, 2), seed=1), X_train, steps=200, lr=lr)
        ax.semilogy(losses, style, color=OUTPUT_COLOR if lr == 3e-2 else "black", label=f"lr = {lr}")
    ax.axhline(X_train.square().mean().item(), color="grey", linewidth=0.8, label="answering zero")
    ax.set(title="Learning to copy: the loss curve", xlabel="step", ylabel="mean squared error (log scale)")
    ax.legend()

# %% [markdown]
# ### What has it learned?
#
# **Predict, then run.** We train with `lr = 0.01`, then show the module sequences that it has *never seen*. Which
# pattern will the weights of each head have, before training and after?

# %%
with picture("train_to_copy", alt="Four heat maps of attention weights between six tokens of an unseen "
             "sequence, two heads before training and two after. Before, the weights are spread out; "
             "after, nearly all weight lies on the diagonal."):
    unseen = torch.randn(200, 6, 16, generator=torch.Generator().manual_seed(1))
    copier = seeded(MultiHeadAttention(16, 2), seed=1)
    before = copier(unseen)[1][0]
    losses = train_to_copy(copier, X_train, steps=300, lr=0.01)
    output, after = copier(unseen)
    titles = "head 0, before", "head 1, before", "head 0, after", "head 1, after"
    figure, axes = plt.subplots(1, 4, figsize=(10, 3.1), sharey=True)
    for ax, title, matrix in zip(axes, titles, [*before, *after[0]], strict=True):
        ylabel = "query" if ax is axes[0] else ""
        image = heatmap(ax, matrix, title, "key", ylabel, range(6), range(6), vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="attention weight")
    print(f"loss in training: {losses[0]:.3f} at the start, {losses[-1]:.5f} at the end")
    print(f"error on 200 sequences that it has never seen: {F.mse_loss(output, unseen).item():.3f}")
    print(f"weight on the diagonal there, on average: {after.diagonal(dim1=-2, dim2=-1).mean().item():.2f}")

# %% [markdown]
# <details><summary>What happened</summary>
#
# The fog has become a diagonal: each token looks at itself. Nobody told the module to; it is what makes the loss
# small. And it has learned a *rule*, not only the 128 sequences: it copies new ones as well, if not quite so
# cleanly. Where a token slips off the diagonal it is mostly a short one: its dot product with itself is small, and
# a longer neighbour shouts louder.
#
# </details>
#
# **Freezing as an experiment.** If the diagonal is what counts, a module that may not learn *where to look* must
# fail, and one that may not learn *what to hand over* has a chance as long as `W_O` can make up for it. Freezing
# parts of a model tells you which part does the work:

# %%
with picture("train_to_copy", alt="Loss curves over 300 steps with parts frozen. With W_Q and W_K frozen "
             "the loss stays high, above one half. With W_V frozen it falls, and falls furthest with "
             "nothing frozen."):
    figure, ax = plt.subplots(figsize=(8, 3.8))
    cases = {"W_Q and W_K frozen": (("W_Q", "W_K"), Q_COLOR, "--"), "W_V frozen": (("W_V",), V_COLOR, "-."),
             "nothing frozen": ((), "black", "-")}
    for label, (names, colour, style) in cases.items():
        learner = seeded(MultiHeadAttention(16, 2), seed=1)
        for name in names:
            getattr(learner, name).requires_grad_(False)
        ax.semilogy(train_to_copy(learner, X_train, steps=300, lr=0.01), style, color=colour, label=label)
    ax.set(title="Which part does the work?", xlabel="step", ylabel="mean squared error (log scale)")
    ax.legend()

# %% [markdown]
# ## 7 · The same as PyTorch's own
#
# **The problem.** Your module learns. But is it *right*? The strongest test there is: give it the weights of
# `nn.MultiheadAttention`, and compare every number.
#
# The built-in module stores things in its own way. It has one matrix for Q, K and V together, stacked along the
# outputs, and a linear for the last step:
#
# $$P = \begin{pmatrix} W_Q^\top \\ W_K^\top \\ W_V^\top \end{pmatrix}
# \text{ of shape } (3\, d_{model},\; d_{model}), \qquad R = W_O^\top$$
#
# where $P$ is `in_proj_weight` and $R$ is `out_proj.weight`. They are transposed, as in every `nn.Linear`, which
# means: exactly as your own linears store them.
#
# **A tiny worked example.** With `d_model = 2`, `in_proj_weight` has 6 rows. Rows 0 and 1 are `W_Q.weight`, rows 2
# and 3 are `W_K.weight`, rows 4 and 5 are `W_V.weight`.

# %%
builtin = seeded(nn.MultiheadAttention(8, 2, bias=False, batch_first=True), seed=4)
for name, tensor in builtin.state_dict().items():
    print(f"{name:<16} {tuple(tensor.shape)}")

with picture("in_proj_weight", alt="Heat map of in_proj_weight, 24 rows by 8 columns, with bars at its "
             "side: the first eight rows belong to W_Q, the next eight to W_K, the last eight to W_V."):
    figure, ax = plt.subplots(figsize=(6.4, 5.2))
    image = heatmap(ax, builtin.in_proj_weight, "in_proj_weight: three matrices in one",
                    "input (d_model = 8)", "row", range(8))
    for part, (name, colour) in enumerate((("W_Q", Q_COLOR), ("W_K", K_COLOR), ("W_V", V_COLOR))):
        ends = [8 * part - 0.4, 8 * part + 7.4]
        ax.plot([7.75, 7.75], ends, color=colour, linewidth=6, solid_capstyle="butt", clip_on=False)
        ax.text(8.05, 8 * part + 3.5, f"{name}.weight", color=colour, va="center", fontweight="bold")
    ax.set(xlim=(-0.5, 7.5), yticks=(0, 7, 8, 15, 16, 23))
    figure.colorbar(image, ax=ax, label="value of the weight", pad=0.02)

# %% [markdown]
# **Predict, then run.** The built-in family has *two* conventions for a boolean mask. Below, only the upper right
# corner of the mask is True: token 0, looking at token 1. Which of the two functions lets token 0 see token 1?

# %%
corner = torch.tensor([[False, True], [False, False]])
tokens = torch.eye(2).expand(1, 2, 2)
flat = nn.MultiheadAttention(2, 1, bias=False, batch_first=True)
flat.load_state_dict({"in_proj_weight": torch.zeros(6, 2), "out_proj.weight": torch.eye(2)})
zeros = torch.zeros(1, 2, 2)  # Q and K: all scores are zero, for both
print("nn.MultiheadAttention, its weights:")
print(flat(tokens, tokens, tokens, attn_mask=corner)[1][0].tolist())
print("F.scaled_dot_product_attention, its output, which is its weights, since V is the identity:")
print(F.scaled_dot_product_attention(zeros, zeros, tokens, attn_mask=corner)[0].tolist())

# %% [markdown]
# <details><summary>What happened</summary>
#
# For `nn.MultiheadAttention`, and for you, True means *blocked*: token 0 sees itself alone. For
# `F.scaled_dot_product_attention` True means *may attend*: token 0 sees token 1 alone, and token 1 nothing at all.
# Whoever mixes them up gets no error, but a model that sees the future and nothing but the future. From one to the
# other leads `~mask`.
#
# </details>

# %% [markdown]
# ### Exercise 5 · copy_builtin_weights · ★★☆ · 10 min
#
# `copy_builtin_weights(mha, builtin)` copies the values of `builtin`, an `nn.MultiheadAttention` without bias, into
# `mha`, your `MultiHeadAttention` of the same `d_model` and `n_heads`. From then on both give the same outputs.
# What the function returns does not matter.
#
# - Only values are copied, whatever they are, and however they lie in memory. The two share no storage: changing or
#   training one later leaves the other alone. A second copy replaces the first.
# - Both are as trainable as before: each parameter keeps its `requires_grad`, a frozen one stays frozen and is
#   copied into all the same.
# - `mha` keeps its dtype and its device; the values are converted where they must be. `builtin` is not changed, and
#   both stay in their `train()` or `eval()` mode.
# - `builtin` is made with `bias=False`, and with `kdim` and `vdim` left alone.
#
# <details><summary>Hint 1: who gets what?</summary>
#
# Cut `in_proj_weight` into three equal pieces along its rows; they come in the order of the formula above. Nothing
# has to be transposed: your linears store their matrices in the same way.
#
# </details>
# <details><summary>Hint 2: writing into a parameter</summary>
#
# Assigning another tensor to an attribute makes the two modules share it. Values are written *into* a parameter by
# its in-place `copy_`, which also converts the dtype. PyTorch refuses that on a trainable parameter, unless it is
# told that no gradients are wanted meanwhile. (There is another way: a state dict of your own making, loaded.)
#
# </details>
# <details><summary>Hint 3: a sketch in words and shapes</summary>
#
# With gradients off: three pieces, (d_model, d_model) each, from the (3 d_model, d_model) matrix; each piece into
# the weight of its linear, W_Q, W_K, W_V in turn; the weight of out_proj into that of W_O.
#
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "copy_builtin_weights", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def copy_builtin_weights(mha, builtin):
    """Copy the values of a bias-free nn.MultiheadAttention into a MultiHeadAttention.

    Shape:
        builtin.in_proj_weight: (3 * d_model, d_model), the rows of W_Q, W_K and W_V one after the other
        builtin.out_proj.weight: (d_model, d_model)
    """
    ### BEGIN SOLUTION
    pieces = *builtin.in_proj_weight.chunk(3), builtin.out_proj.weight
    with torch.no_grad():
        for part, values in zip((mha.W_Q, mha.W_K, mha.W_V, mha.W_O), pieces, strict=True):
            part.weight.copy_(values)
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_copy_builtin_weights", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("copy_builtin_weights") as check:
    builtin = seeded(nn.MultiheadAttention(8, 2, bias=False, batch_first=True), seed=4)
    mha = seeded(MultiHeadAttention(8, 2), seed=5)
    mha.W_K.weight.requires_grad_(False)
    copy_builtin_weights(mha, builtin)
    check.equal("W_Q.weight", mha.W_Q.weight, builtin.in_proj_weight[:8],
                hint="the first d_model rows, not transposed")
    check.equal("W_O.weight", mha.W_O.weight, builtin.out_proj.weight)
    X = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(6))
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    wanted = builtin(X, X, X, attn_mask=causal, average_attn_weights=False)
    output, weights = mha(X, mask=causal)
    check.equal("the same output", output, wanted[0], hint="is the order W_Q, W_K, W_V?")
    check.equal("the same weights", weights, wanted[1])
    check.true("both as trainable as before", [p.requires_grad for p in mha.parameters()].count(False) == 1
               and not mha.W_K.weight.requires_grad and all(p.requires_grad for p in builtin.parameters()))
    nn.init.zeros_(builtin.in_proj_weight)
    nn.init.zeros_(builtin.out_proj.weight)
    check.true("no shared storage", all(p.abs().sum() > 0 for p in mha.parameters()),
               hint="copy the values into your parameters; do not put the built-in's tensors in their place")

# %%
with picture("copy_builtin_weights", alt="Left: outputs of your module against those of "
             "nn.MultiheadAttention; before copying the points are a cloud, after it they all lie on the "
             "diagonal. Right: histogram of the differences, all below about one millionth."):
    builtin = seeded(nn.MultiheadAttention(32, 4, bias=False, batch_first=True), seed=4)
    mha = seeded(MultiHeadAttention(32, 4), seed=5)
    X = torch.randn(4, 10, 32, generator=torch.Generator().manual_seed(6))
    theirs = builtin(X, X, X)[0].detach().flatten()
    unlike = mha(X)[0].detach().flatten()
    copy_builtin_weights(mha, builtin)
    ours = mha(X)[0].detach().flatten()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    left.plot(theirs.tolist(), unlike.tolist(), ".", color="grey", markersize=3, label="before copying")
    left.plot(theirs.tolist(), ours.tolist(), ".", color=OUTPUT_COLOR, markersize=4, label="after copying")
    left.set(title="Every number of the output", xlabel="nn.MultiheadAttention", ylabel="your module")
    left.legend()
    right.hist((ours - theirs).mul(1e6).tolist(), bins=30, color=OUTPUT_COLOR, edgecolor="white")
    right.set(title="What is left is rounding", xlabel="difference (millionths)", ylabel="how many outputs")

# %% [markdown]
# ## 8 · Three levels of abstraction
#
# **The problem.** You now know attention at three levels. They compute the same thing; so why are there three?
#
# | level | what you write | who keeps the weights | what you see inside |
# |---|---|---|---|
# | 1 raw tensors (lesson 1) | every operation | you, by hand | everything |
# | 2 modules of your own (this lesson) | the parts, and how they are joined | `nn.Module` | all that `forward` names |
# | 3 ready made | one line | `nn.MultiheadAttention` | what its options let through |
#
# Let us put them side by side. Level 1 is written down again below, one head at a time, so that you see what the
# other two save you:
#
# $$\text{output} = \sum_h \text{softmax}\!\left(\frac{(X W_Q^{(h)}) (X W_K^{(h)})^\top}{\sqrt{d_{head}}}\right)
# X W_V^{(h)} \; W_O^{(h)}$$
#
# where $W_Q^{(h)}$ are the columns of head $h$ and $W_O^{(h)}$ the *rows* that belong to it. (Joining the heads and
# multiplying by $W_O$ is the same sum: a tiny example is $(a, b) \begin{pmatrix} c \\ d \end{pmatrix} = ac + bd$.)

# %%
def raw_attention(X, W_Q, W_K, W_V, W_O, n_heads):
    """Level 1: attention from raw operations, (..., seq, d_model) -> (..., seq, d_model)."""
    d_head, total = X.shape[-1] // n_heads, 0.0
    for h in range(n_heads):
        own = slice(h * d_head, (h + 1) * d_head)
        similarity = torch.einsum("...qd,...kd->...qk", X @ W_Q[:, own], X @ W_K[:, own]) * d_head**-0.5
        powers = (similarity - similarity.amax(-1, keepdim=True)).exp()
        total = total + powers / powers.sum(-1, keepdim=True) @ (X @ W_V[:, own]) @ W_O[own]
    return total


def milliseconds(call, repeats=15):
    """The shortest time that a call took, in ms: the shortest is the least disturbed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)

# %% [markdown]
# **Predict, then run.** The same weights at all three levels, batches of 2 sequences with 512 tokens,
# `d_model = 64`, 8 heads. Are the outputs equal to the last digit? Which level is fastest, and by how much?

# %%
with picture("copy_builtin_weights", alt="Horizontal bars: the time of one call in milliseconds for raw "
             "tensors, your modules, the built-in module with its weights and the built-in module "
             "without them. The numbers are printed above."):
    builtin = seeded(nn.MultiheadAttention(64, 8, bias=False, batch_first=True), seed=7)
    mha = MultiHeadAttention(64, 8)
    copy_builtin_weights(mha, builtin)
    matrices = [linear.weight.detach().T for linear in (mha.W_Q, mha.W_K, mha.W_V, mha.W_O)]
    X = torch.randn(2, 512, 64, generator=torch.Generator().manual_seed(8))
    levels = {"1 raw tensors,\nloop over heads": lambda: raw_attention(X, *matrices, 8),
              "2 your modules": lambda: mha(X)[0],
              "3 built-in": lambda: builtin(X, X, X, average_attn_weights=False)[0],
              "3 built-in,\nwithout its weights": lambda: builtin(X, X, X, need_weights=False)[0]}
    with torch.set_grad_enabled(False):
        truth = mha.double()(X.double())[0]
        mha.float()
        times = {name: milliseconds(call) for name, call in levels.items()}
        for name, call in levels.items():
            error = (call().double() - truth).abs().max().item()
            print(f"{name.replace(chr(10), ' '):<32} {times[name]:6.2f} ms    largest error {error:.1e}")
    figure, ax = plt.subplots(figsize=(8, 3.2))
    bars = ax.barh(list(times), list(times.values()), color=["grey", OUTPUT_COLOR, "black", "black"])
    ax.bar_label(bars, fmt="%.1f ms", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(title="One call, on this machine", xlabel="time (ms, the best of 15)")

# %% [markdown]
# <details><summary>What happened</summary>
#
# All three are right, and none is equal to the other to the last digit: each adds up in another order, and each
# rounds differently. How far apart the times are depends on your machine. On a CPU they are close; on a GPU a loop
# of many small products falls far behind. Ahead is usually the built-in where it need not hand out its weights: it
# may then take a path that never stores the `(seq, seq)` map as a whole, and the longer the sequence, the more that
# saves. What you gain in speed you lose in sight.
#
# </details>
#
# **Where the levels differ without telling you.**
#
# | | levels 1 and 2, as you built them | `nn.MultiheadAttention` | `F.scaled_dot_product_attention` |
# |---|---|---|---|
# | True in a mask | blocked | blocked | may attend |
# | mask for each batch element | `(batch, 1, seq, seq)` | `(batch * n_heads, seq, seq)` | `(batch, 1, seq, seq)` |
# | a query that sees nothing | zero | NaN, or zero, depending on its path | zero in new versions, NaN in old ones |
# | weights returned | one map a head | the mean over heads, by default | none |
# | where is the batch? | in front, any number of dimensions | second, unless `batch_first=True` | in front |
# | bias | none | yes, by default | has no weights at all |

# %% [markdown]
# ### Exercise 6 · three_levels · ★★☆ · 10 min · written
#
# In 120 to 250 words, in the cell below:
#
# 1. What does each of the three levels do for you, and what does it hide from you?
# 2. Which one would you choose (a) to try out a new kind of attention that nobody has built yet, (b) to draw what a
#    trained model attends to, (c) to train a large model as fast as possible? Give one reason each.
# 3. Name two details in which the levels differ and where code runs without an error, but wrong, if one forgets.
#    Say how you would notice.
#
# A person will read it. Half of the points are for reasons, not for names.

# %% [markdown] nbgrader={"cell_type": "markdown", "grade": true, "grade_id": "three_levels", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
# ### BEGIN SOLUTION
# Raw tensors show every operation: nothing is hidden, each intermediate value can be printed or changed, and each
# matrix has to be made, stored, updated and moved by hand. Modules of one's own keep the mathematics in sight and
# take over the bookkeeping: parameters are found by the optimiser, saved in the state dict, moved by `.to`. Hidden
# are registration and the transposed storage of `nn.Linear`. The built-in module takes the implementation off my
# hands and may use fused kernels; hidden are the packed `in_proj_weight`, the path that is taken, and the weights
# unless I ask for them.
#
# (a) Level 2, or 1 for the first sketch: I must change what stands between scores and output. (b) Level 2: it
# returns one map a head, where the built-in gives their mean by default. (c) Level 3, with `need_weights=False`:
# the map is never stored as a whole, which saves time and memory.
#
# Silent differences: True means blocked for `nn.MultiheadAttention` and may attend for
# `F.scaled_dot_product_attention`; I would notice by changing a future token and watching whether past outputs
# move. And `batch_first=False` is the default: with batch in front, sequences attend across the batch; I would
# notice because the output of one sequence changes when another one of the batch does.
#
# **Rubric (10 points).** 3: each level has one benefit and one thing it hides (1 each). 3: a, b, c each with a
# reason that fits (1 each; any level with a sound reason counts). 4: two real silent differences (1 each: mask
# meaning, packed or transposed weights, averaged maps, batch first, bias, mask shape, blocked rows) and for each a
# test that would show it (1 each).
# ### END SOLUTION

# %% [markdown]
# ## Summary
#
# | You built | In one line | Worth remembering |
# |---|---|---|
# | `ScaledDotProductAttention` | softmax(Q Kᵀ / √d_k) V, in a module | `nn.Linear` stores its matrix transposed |
# | masks | True = blocked; all blocked = exact zeros | mind the rows that have nothing left |
# | `MultiHeadAttention` | heads are one more batch dimension | split first, swap second; undo in the opposite order |
# | `count_parameters` | the sum over trainable parameters | a state dict lists places, not things |
# | `train_to_copy` | forward, loss, backward, update | clear old gradients; the loss is that from before the update |
# | learned weights | fog became a diagonal | attention finds the pattern that makes the loss small |
# | `copy_builtin_weights` | `in_proj_weight` is W_Q, W_K and W_V stacked | copy values, don't share tensors |
# | three levels | one function, three prices | what you gain in speed you lose in sight |

# %% [markdown]
# ## Ready to hand in?

# %%
ready("ScaledDotProductAttention", "MultiHeadAttention", "count_parameters", "train_to_copy",
      "copy_builtin_weights", written=("three_levels",))

# %% [markdown]
# ## What comes next
#
# Shuffle the tokens of a sequence, and the outputs of your attention are shuffled in the same way, and otherwise
# unchanged. Try it: to attention, "dog bites man" and "man bites dog" are one and the same bag of words. In
# **lesson 3, positional encoding**, you give each token a sense of where it stands, with nothing but sines and
# cosines.
