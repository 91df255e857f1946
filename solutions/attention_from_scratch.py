# %% [markdown]
# # 1 · Attention from scratch
#
# include: badge
#
# How does a model decide which words of a sentence belong together? In a Transformer every token asks a question,
# every token offers an answer, and a handful of matrix products settles who listens to whom. That mechanism is
# **attention**. Here you build it out of raw tensor operations, so that no part of it stays a black box.
#
# **What you will have built at the end**
#
# - a numerically stable softmax,
# - scaled dot-product attention that can be masked, as in [*Attention Is All You
#   Need*](https://arxiv.org/abs/1706.03762), section 3.2.1,
# - multi-head attention twice: once as a loop that you can read like the formula, once batched, as libraries do it,
# - maps that show, head by head, who listens to whom.
#
# **You need** Python, a little PyTorch (indexing, shapes) and a little linear algebra (matrix products).
#
# **Time**: about 80 minutes, 8 functions and one written answer.

# %% [markdown]
# ## How this notebook works
#
# Each exercise has a heading with its difficulty (★ to ★★★) and the minutes it may take, hints that unfold one by
# one, a **stub** for your code, and a cell of **visible checks**. A check says ✔, or what it wanted, what it got and
# where to look. A stub that is still open breaks nothing: the cells after it say what they wait for. Then comes a
# picture drawn by *your* code.
#
# Replace the line `raise NotImplementedError` by your code and keep the names and the order of the arguments. You may
# add cells, helper functions and experiments wherever you like.
#
# When you see **Predict, then run**, write down your guess before you run the cell. Being wrong for ten seconds is
# the cheapest way to learn.

# %% [markdown]
# ## What the grader looks at
#
# Hidden tests run your functions on other numbers and other shapes than the visible checks. They check nothing that
# this notebook has not said. What holds for **every** exercise is said here, once:
#
# 1. **Shapes.** Tensors may have any number of leading batch dimensions, none included; the docstrings write them
#    `...`. Any size may be 1 or odd. The tensors of one call share their leading dimensions. Tests pass `mask`,
#    `dim`, `device` and `n_heads` by these names, all else by position. Where a list is wanted back, a tuple will do.
# 2. **Values.** Results agree with the formula on random inputs, as accurately as the plain formula in that dtype
#    allows.
# 3. **Dtype and device.** The result has the dtype and the device of the input tensors: float16, bfloat16, float32 or
#    float64, on a CPU or a GPU. Float16 tests use values for which no intermediate of the plain formula overflows.
# 4. **Gradients.** Gradients flow to every floating-point tensor argument, and they are right: they are compared with
#    finite differences and with the gradient of the formula.
# 5. **Inputs stay as they are.** Your code never modifies an input, its `requires_grad` and its `.grad` included.
# 6. **Memory layout.** An input need not be contiguous: it may be a transposed, sliced or expanded tensor.
# 7. **No global state.** The result does not depend on the default dtype, the random seed, whether gradients are
#    switched on, or an earlier call, and your code leaves all of these as they were.
# 8. **From scratch.** Not allowed are `torch.nn`, `torch.nn.functional`, and softmax, log-softmax or attention as a
#    ready-made operator, under any name or spelling (`torch.softmax`, `x.softmax`, `torch.special.softmax`,
#    `torch._softmax`, `torch.ops.aten`, `torch._refs`, a subclass, a script, another library, the gradient of
#    `logsumexp`). Allowed are `exp`, `sum`, `amax`, `logsumexp`, `@`, `einsum`, `where`, `masked_fill`, `reshape`,
#    `transpose` and their like.
#
# Each exercise counts for itself. An answer that calls an earlier exercise of yours loses only what it really gets
# wrong, and forbidden use costs that one exercise and nothing else. The rule binds the code that the exercises run:
# to compare your softmax with PyTorch's in a cell beside it is a good idea. Right values come first: the other points
# of the list can only be earned in proportion to them.

# %% [markdown]
# ## Setup
#
# `torch` and `matplotlib` are all that is needed, and Colab has both. The second cell is a toolbox: the checks, the
# pictures and one colour for each thing, the same in all four lessons (blue queries, orange-red keys, green values).

# %%
import math

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LinearSegmentedColormap

# %%
# include: _toolbox.py

# %% [markdown]
# Our sentence for the whole lesson has six tokens. Each gets a vector of `d_model = 8` numbers, chosen by hand so
# that you can read them: four say what kind of word it is, one says whether it lives, one is always 1, and two say
# where it stands, as a point on a circle. (A trained model finds such numbers by itself. Lesson 3 is about the last
# two.)

# %%
tokens = ["the", "cat", "sat", "on", "the", "mat"]
features = ["article", "noun", "verb", "prepos.", "alive", "one", "cos", "sin"]
kinds = {
    "the": [1, 0, 0, 0, 0],
    "cat": [0, 1, 0, 0, 1],
    "sat": [0, 0, 1, 0, 0],
    "on": [0, 0, 0, 1, 0],
    "mat": [0, 1, 0, 0, 0],
}
places = [2 * math.pi * position / 8 for position in range(len(tokens))]  # angles on the circle
X_sentence = torch.tensor(
    [[*kinds[t], 1, math.cos(p), math.sin(p)] for t, p in zip(tokens, places, strict=True)]
)

alt = """Table of the sentence: one row a token, one column a feature. The rows of the two 'the'
agree in all columns but the two of the position."""
with picture("the sentence", alt):
    fig, ax = plt.subplots(figsize=(7, 3.2))
    title = "X_sentence: one row a token"
    image = heatmap(ax, X_sentence, title, "feature", "token", features, tokens, annotate=True)
    fig.colorbar(image, ax=ax, label="value (no unit)")

# %% [markdown]
# ## 1 · Dot products: how alike are two vectors?
#
# **The problem.** A token must find the tokens that matter to it. So we need a number for each pair of tokens that is
# large where two vectors point the same way.
#
# **The formula.** The dot product does that. For the rows of $X$ (shape $n \times d$) and of $Y$ (shape
# $m \times d$):
#
# $$ \mathrm{scores}_{ij} = \sum_{c=1}^{d} X_{ic} \, Y_{jc} $$
#
# It is positive where two vectors point the same way, zero at a right angle, negative where they oppose each other,
# and it grows with their lengths.
#
# **A tiny example.** Two vectors against three:
#
# | | $y_0 = (1, 0)$ | $y_1 = (0, 2)$ | $y_2 = (-1, 1)$ |
# | --- | --- | --- | --- |
# | $x_0 = (1, 1)$ | $1 \cdot 1 + 1 \cdot 0 = 1$ | $1 \cdot 0 + 1 \cdot 2 = 2$ | $1 \cdot (-1) + 1 \cdot 1 = 0$ |
# | $x_1 = (3, 0)$ | $3$ | $0$ | $-3$ |
#
# Row $i$ belongs to $x_i$, column $j$ to $y_j$. Two vectors and three make a table of shape $2 \times 3$.

# %% [markdown]
# **Predict, then run.** `a` is doubled, then turned by 90 degrees. What becomes of its dot product with itself?

# %%
a, turned = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 3.0])
for what, b in {"a": a, "2a": 2 * a, "a turned by 90 degrees": turned, "-a": -a}.items():
    total = sum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    print(f"a dot {what:<23} = {total:6.1f}")

# %% [markdown]
# ### Exercise 1 · pairwise_dot_products · ★☆☆ · 5 min
#
# All dot products of the rows of `X` with the rows of `Y`, in one go. Entry `[..., i, j]` is the dot product of row
# `i` of `X` with row `j` of `Y`; `n` and `m` may differ.
#
# <details><summary>Hint 1</summary>
#
# A loop over i and j works but is slow. A matrix product computes all the sums over $c$ at once. Which shapes may it
# multiply?
# </details>
# <details><summary>Hint 2</summary>
#
# In a matrix product the last dimension of the left factor meets the last but one of the right factor. In `Y` the two
# last dimensions stand the wrong way round. Mind that `.T` turns round *all* dimensions, batch dimensions too.
# </details>
# <details><summary>Hint 3: sketch</summary>
#
# `(..., n, d)` times `(..., d, m)` gives `(..., n, m)`: swap the last two dimensions of the second tensor, then
# multiply.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "pairwise_dot_products", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
def pairwise_dot_products(X, Y):
    """Dot product of each row of X with each row of Y.

    Shape:
        X: (..., n, d)
        Y: (..., m, d)
        returns: (..., n, m)
    """
    ### BEGIN SOLUTION
    return X @ Y.transpose(-2, -1)
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_pairwise_dot_products", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("pairwise_dot_products") as check:
    x = torch.tensor([[1.0, 1.0], [3.0, 0.0]])
    y = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    wanted = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, -3.0]])
    check.equal("the tiny example", pairwise_dot_products(x, y), wanted,
                hint="row i belongs to X, column j to Y")
    got = pairwise_dot_products(torch.ones(2, 3, 4, 5), torch.ones(2, 3, 6, 5))
    check.shape("batches of 2 x 3", got, (2, 3, 4, 6), hint="swap only the last two dimensions")
    check.equal("float64 stays float64", pairwise_dot_products(x.double(), y.double()),
                wanted.double(), hint="convert nothing on the way")

# %%
alt = """Dot products of all pairs of tokens, a symmetric table. Off the diagonal only two pairs
resemble each other: the two 'the', and 'cat' with 'mat'. The largest is 'cat' with itself."""
with picture("pairwise_dot_products", alt):
    X_kind = X_sentence[:, :5]  # the features that say what a token is, not where it stands
    dots = pairwise_dot_products(X_kind, X_kind)
    fig, ax = plt.subplots(figsize=(5.5, 4.2))
    title = "Who resembles whom in kind?"
    image = heatmap(ax, dots, title, "token j", "token i", tokens, tokens, annotate=True)
    fig.colorbar(image, ax=ax, label="dot product (no unit)", ticks=[0, 1, 2])

# %% [markdown]
# ## 2 · Softmax: from scores to weights
#
# **The problem.** Scores can be any numbers. To mix tokens we want **weights**: none negative, together exactly 1,
# large where the score is large, and smooth, so that gradients exist.
#
# **The formula.** Softmax of the entries $x_1, \dots, x_n$:
#
# $$ \mathrm{softmax}(x)_i = \frac{e^{x_i}}{\sum_{j=1}^{n} e^{x_j}} $$
#
# **A tiny example.** For $x = (0, \ln 2, \ln 5)$ the exponentials are $1, 2, 5$ and their sum is $8$, so the weights
# are $\tfrac18, \tfrac28, \tfrac58$.
#
# **The trap.** $e^{x}$ leaves the range of float32 at $x \approx 88.7$, that of float16 at $x \approx 11.1$. But only
# *differences* count: for any constant $c$
#
# $$ \frac{e^{x_i - c}}{\sum_j e^{x_j - c}} = \frac{e^{-c} \, e^{x_i}}{e^{-c} \sum_j e^{x_j}} = \mathrm{softmax}(x)_i $$
#
# So softmax is **shift invariant**, and we may choose a $c$ for which no exponential is ever too large.

# %% [markdown]
# **Predict, then run.** The formula as it stands meets scores of 10, 100 and 1000. Which of the three survive?

# %%
for size in (10.0, 100.0, 1000.0):
    exponentials = [torch.exp(torch.tensor(score)) for score in (size, size + math.log(3))]
    shares = [round((e / sum(exponentials)).item(), 4) for e in exponentials]
    print(f"scores around {size:6.0f}: {shares}   wanted [0.25, 0.75]")

# %% [markdown]
# ### Exercise 2 · softmax · ★★☆ · 12 min
#
# Softmax of `x` along the dimension `dim`. Beside what holds for every exercise:
#
# - `dim` may be any dimension, counted from the front or from the end.
# - The slices along `dim` sum to 1, and adding one constant to a whole slice changes nothing.
# - It is stable for any finite input: scores of 1e4 and of -1e4, side by side too, give weights without NaN or
#   infinity.
# - An entry `-inf` gets weight exactly 0, and its gradient is 0. The other entries share the weight as if it were not
#   there.
# - A slice whose entries are *all* `-inf` gives zeros, not NaN, and its gradient is zero, never NaN. (Such a slice is
#   a token that may listen to nobody. It turns up as soon as there are masks.)
#
# <details><summary>Hint 1</summary>
#
# Which $c$ makes the largest exponent 0, whatever the scores are? Each slice needs its own. Does a sum with one term
# $e^0$ in it ever vanish?
# </details>
# <details><summary>Hint 2</summary>
#
# `keepdim=True` leaves a dimension of size 1 behind, which then broadcasts against `x`, for any `dim`.
# </details>
# <details><summary>Hint 3</summary>
#
# Where everything is `-inf`, the largest entry is `-inf` too, and `-inf - (-inf)` is NaN. A NaN that is replaced
# *after* it was made still poisons the gradient (0 times NaN is NaN). So change what you subtract, and what you
# divide by, before it does harm.
# </details>
# <details><summary>Hint 4: sketch</summary>
#
# 1. the largest entry of each slice, shape as `x` but 1 at `dim`; where it is `-inf`, take 0 in its place;
# 2. subtract it and take exponentials: all lie between 0 and 1, and a slice that is all `-inf` has only zeros;
# 3. sum them along `dim`; where the sum is zero, put 1 in its place; 4. divide.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "softmax", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def softmax(x, dim=-1):
    """Softmax of x along dim, stable for any finite input; an all -inf slice gives zeros.

    Shape:
        x: any shape, at least one dimension
        returns: same shape as x
    """
    ### BEGIN SOLUTION
    # The result does not depend on what is subtracted, so no gradient need flow through it.
    largest = x.detach().amax(dim=dim, keepdim=True)
    blocked = largest == -math.inf
    powers = (x - largest.masked_fill(blocked, 0.0)).exp()
    return powers / powers.sum(dim=dim, keepdim=True).masked_fill(blocked, 1.0)
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_softmax", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("softmax") as check:
    inf = math.inf
    got = softmax(torch.tensor([0.0, math.log(2), math.log(5)]))
    check.equal("the tiny example", got, torch.tensor([0.125, 0.25, 0.625]),
                hint="exponentials, divided by their sum")
    got = softmax(torch.tensor([[0.0, 1.0], [math.log(3), 1.0]]), dim=0)
    check.equal("dim=0 of a table", got, torch.tensor([[0.25, 0.5], [0.75, 0.5]]),
                hint="use dim, not always the last dimension, and keep it for the division")
    got = softmax(torch.tensor([1e4, 1e4, -1e4]))
    check.equal("scores of 10000", got, torch.tensor([0.5, 0.5, 0.0]),
                hint="subtract the largest score of the slice first")
    got = softmax(torch.tensor([-inf, 0.0, 0.0]))
    check.equal("one entry is -inf", got, torch.tensor([0.0, 0.5, 0.5]))
    got = softmax(torch.tensor([[-inf, -inf], [0.0, 0.0]]))
    check.equal("all entries are -inf", got, torch.tensor([[0.0, 0.0], [0.5, 0.5]]),
                hint="-inf minus -inf is NaN, and so is 0 / 0")
    leaf = torch.tensor([[-inf, -inf], [0.0, 0.0]], requires_grad=True)
    softmax(leaf)[:, 0].sum().backward()
    wanted = torch.tensor([[0.0, 0.0], [0.25, -0.25]])
    check.equal("gradient with a slice of -inf", leaf.grad, wanted,
                hint="avoid the NaN instead of repairing it")

# %%
alt = """Three bar charts of the softmax of the same four scores, multiplied by one half, 1 and
4. The larger the factor, the more weight the largest score takes."""
with picture("softmax", alt):
    scores_shown = torch.tensor([1.0, 2.0, 0.5, 1.5])
    fig, axes = plt.subplots(1, 3, figsize=(8, 2.6), sharey=True)
    for ax, factor in zip(axes, (0.5, 1.0, 4.0), strict=True):
        ax.bar(range(4), softmax(factor * scores_shown).tolist(), color=SCORE_COLOR)
        ax.set(title=f"scores times {factor:g}", xlabel="entry", xticks=range(4), ylim=(0, 1))
    axes[0].set_ylabel("weight (sums to 1)")

# %% [markdown]
# The order of the bars never changes, but their contrast does: **the size of the scores sets how sharp the weights
# are**. Keep that in mind for the next section.

# %% [markdown]
# ## 3 · Why divide by $\sqrt{d_k}$?
#
# **The problem.** Attention will compare a query $q$ with keys $k$ by dot products of $d_k$ terms. The longer the
# vectors, the larger the scores. Is that bad?
#
# **The formula.** Let all components of $q$ and $k$ be independent, with mean 0 and variance 1. A product $q_c k_c$
# then has mean 0 and variance 1, and variances of independent terms add up:
#
# $$ \mathrm{Var}(q \cdot k) = \sum_{c=1}^{d_k} \mathrm{Var}(q_c k_c) = d_k
# \qquad\Longrightarrow\qquad \mathrm{Var}\!\left(\frac{q \cdot k}{\sqrt{d_k}}\right) = 1 $$
#
# **A tiny example.** At $d_k = 64$ a score is typically of size $\sqrt{64} = 8$. Two scores 8 apart have weights in
# the ratio $e^{8} \approx 2981$: one token takes everything. Divided by 8 they are 1 apart, and the ratio is
# $e \approx 2.7$.
#
# **Vanishing gradients.** The derivative of softmax shows what goes wrong in training. With $p = \mathrm{softmax}(x)$
#
# $$ \frac{\partial p_i}{\partial x_j} = p_i \, (\delta_{ij} - p_j) $$
#
# where $\delta_{ij}$ is 1 for $i = j$, else 0. If one $p_i$ is nearly 1 and all others nearly 0, each of these
# products is nearly 0: the softmax is **saturated**, and no gradient comes through to tell the scores that they were
# wrong.

# %% [markdown]
# **Predict, then run.** When $d_k$ grows fourfold, by what factor does the spread (the standard deviation) of
# $q \cdot k$ grow?

# %%
generator = torch.Generator().manual_seed(0)
sizes = [1, 4, 16, 64, 256]
spreads = []
for size in sizes:
    q, k = (torch.randn(4000, size, generator=generator) for _ in range(2))
    spreads.append((q * k).sum(-1).std().item())
    scaled = spreads[-1] / size**0.5
    print(f"d_k = {size:3}: spread {spreads[-1]:6.2f}, divided by sqrt(d_k) {scaled:.2f}")

alt = """The measured standard deviation of dot products lies on the line sqrt(d_k); divided by
sqrt(d_k) it stays at 1."""
with picture("the spread of dot products", alt):
    roots = [size**0.5 for size in sizes]
    scaled = [spread / root for spread, root in zip(spreads, roots, strict=True)]
    fig, ax = plt.subplots(figsize=(5.5, 3.2))
    ax.plot(sizes, roots, "--", color="black", label=r"theory: $\sqrt{d_k}$")
    ax.plot(sizes, spreads, "o", color=SCORE_COLOR, label=r"measured: $q \cdot k$")
    label = r"measured: $q \cdot k / \sqrt{d_k}$"
    ax.plot(sizes, scaled, "s", color=OUTPUT_COLOR, label=label)
    ax.set(title="Dot products grow with the dimension")
    ax.set(xlabel="d_k (number of components)", ylabel="standard deviation (no unit)")
    ax.set_xscale("log", base=4)
    ax.set_xticks(sizes, sizes)
    ax.set_yscale("log", base=2)
    ax.set_yticks([1, 2, 4, 8, 16], [1, 2, 4, 8, 16])
    ax.legend()

# %% [markdown]
# Now with *your* softmax: one query, eight keys, $d_k = 64$. On the left the weights, on the right how much gradient
# is left (the largest entry of the Jacobian, averaged over 50 random queries) as $d_k$ grows.

# %%
def slope_of(logits):
    """Largest entry of softmax's Jacobian, the mean over the rows of `logits`."""
    p = softmax(logits)
    jacobian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return jacobian.abs().amax((1, 2)).mean().item()


alt = """Left: without scaling one of eight keys takes nearly all the weight, with scaling the
weight is spread. Right: the largest entry of the softmax Jacobian falls as d_k grows without
scaling, and stays level with it."""
with picture("softmax", alt):
    generator = torch.Generator().manual_seed(3)
    query, keys = (torch.randn(rows, 64, generator=generator) for rows in (1, 8))
    raw = (keys * query).sum(-1)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    places_left, places_right = ([k + shift for k in range(8)] for shift in (-0.2, 0.2))
    weights = softmax(raw).tolist()
    left.bar(places_left, weights, 0.4, color="#999999", hatch="//", label="unscaled")
    label = r"divided by $\sqrt{d_k}$"
    left.bar(places_right, softmax(raw / 8).tolist(), 0.4, color=SCORE_COLOR, label=label)
    left.set(title="Weights of eight keys, d_k = 64", xlabel="key", ylabel="weight (sums to 1)")
    left.set(xticks=range(8), ylim=(0, 1))
    left.legend()
    unscaled, scaled = [], []
    for size in sizes:
        query, keys = (torch.randn(50, n, size, generator=generator) for n in (1, 8))
        logits = (query * keys).sum(-1)
        unscaled.append(slope_of(logits))
        scaled.append(slope_of(logits / size**0.5))
    right.plot(sizes, unscaled, "o--", color="#666666", label="unscaled")
    right.plot(sizes, scaled, "s-", color=SCORE_COLOR, label=label)
    right.set(title="How much gradient gets through", ylim=(0, 0.26))
    right.set(xlabel="d_k (number of components)", ylabel="largest slope (no unit)")
    right.set_xscale("log", base=4)
    right.set_xticks(sizes, sizes)
    right.legend()

# %% [markdown]
# ### Exercise 3 · why_scale · ★★☆ · 8 min · a written answer
#
# Write five to ten sentences, in your own words, for a friend who has read sections 1 and 2 but not this one. A
# person reads them. Answer all three:
#
# 1. Why does the spread of $q \cdot k$ grow with $d_k$, and how fast?
# 2. What happens to the weights *and* to the gradients of softmax when the scores are spread widely?
# 3. Why divide by $\sqrt{d_k}$, and not by $d_k$ or by nothing?
#
# Formulas, numbers and what you see in the pictures above are welcome.

# %% [markdown] nbgrader={"cell_type": "markdown", "grade": true, "grade_id": "why_scale", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
# ### BEGIN SOLUTION
# A dot product of $q$ and $k$ is a sum of $d_k$ products. If their components are independent with mean 0 and
# variance 1, each product has variance 1, and variances of independent terms add, so the variance is $d_k$: the
# typical score grows as $\sqrt{d_k}$. Widely spread scores make one exponential dwarf the others, so softmax is
# nearly one-hot (at $d_k = 64$ scores lie about 8 apart, a factor of about 3000). There all entries
# $p_i(\delta_{ij} - p_j)$ of its Jacobian are nearly 0, so gradients vanish and the scores cannot learn. Division by
# $\sqrt{d_k}$, the standard deviation, brings the variance back to 1 whatever $d_k$ is. Division by $d_k$ would make
# it $1/d_k$: scores nearly equal, weights nearly uniform, and attention could not tell tokens apart at the start. No
# division brings saturation back.
#
# **Rubric (10 points)**
#
# - 3 points: the variance of a sum of $d_k$ independent terms is $d_k$ (2), so the spread is $\sqrt{d_k}$ (1).
# - 4 points: the weights become nearly one-hot (2); the Jacobian, and so the gradient, nearly vanishes (2).
# - 3 points: $\sqrt{d_k}$ is the standard deviation, so the variance becomes 1 for any $d_k$ (2); $d_k$ would make
#   the weights nearly uniform (1).
#
# Half marks for a right statement without a reason. An answer by numbers or by the pictures counts like one by
# formulas.
# ### END SOLUTION

# %% [markdown]
# ## 4 · Attention, step by step
#
# **The problem.** Each token shall collect what it needs from the others: a mixture of their vectors, with weights
# that depend on what the tokens are.
#
# **The idea.** Each token plays three parts, each with its own vector: its **query** says what it looks for, its
# **key** says what it offers to be found by, its **value** is what it hands over when found. Stacked as rows they
# make $Q$, $K$ and $V$.
#
# **The formula** ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), equation 1):
#
# $$ \mathrm{weights} = \mathrm{softmax}\!\left(\frac{Q K^{\top}}{\sqrt{d_k}}\right), \qquad \mathrm{output} = \mathrm{weights} \; V $$
#
# | | shape | in words |
# | --- | --- | --- |
# | $Q$ | `(..., n, d_k)` | n queries |
# | $K$ | `(..., m, d_k)` | m keys, as long as the queries |
# | $V$ | `(..., m, d_v)` | one value for each key, of any length |
# | scores, weights | `(..., n, m)` | row i: how query i shares its attention among the m keys |
# | output | `(..., n, d_v)` | row i: the mixture that query i receives |
#
# **A tiny example.** One query and two keys, $d_k = 4$, so $\sqrt{d_k} = 2$: $q = (2, 0, 0, 0)$,
# $k_0 = (0, 1, 0, 0)$, $k_1 = (\ln 3, 0, 0, 0)$, $v_0 = (4, 0)$, $v_1 = (0, 8)$.
#
# 1. dot products: $q \cdot k_0 = 0$ and $q \cdot k_1 = 2 \ln 3$;
# 2. scores, divided by 2: $0$ and $\ln 3$;
# 3. softmax: $\tfrac{1}{1 + 3}$ and $\tfrac{3}{1 + 3}$, the weights $0.25$ and $0.75$;
# 4. output: $0.25 \cdot (4, 0) + 0.75 \cdot (0, 8) = (1, 6)$.

# %% [markdown]
# **Predict, then run.** In the tiny example, what comes out when both keys are equal? And when $k_1$ is a hundred
# times as long?

# %%
values = [(4.0, 0.0), (0.0, 8.0)]
scores_of_k1 = {"both keys equal": 0.0, "as above": math.log(3), "100 times": 100 * math.log(3)}
for what, score_1 in scores_of_k1.items():
    share_1 = 1 / (1 + math.exp(-score_1))  # the other score is 0
    mixed = [(1 - share_1) * v_0 + share_1 * v_1 for v_0, v_1 in zip(*values, strict=True)]
    print(f"{what:<16} weights {1 - share_1:.2f} and {share_1:.2f}, output {mixed}")

# %% [markdown]
# ### Hiding tokens: the mask
#
# Sometimes a query must not see a key. A model that learns to predict the next word may not look at it. So attention
# takes a **mask**, a boolean tensor:
#
# > **True = blocked.** Where the mask is True, the score becomes $-\infty$ *before* the softmax, so the weight is
# > exactly 0 and the others still sum to 1.
#
# This is the convention of `attn_mask` in `nn.MultiheadAttention`. `F.scaled_dot_product_attention` has it **the
# other way round** (True = may look); mixing them up is a classic bug. The mask broadcasts to the scores by PyTorch's
# usual rule: a mask `(n, m)` serves every element of a batch. A query that may attend to nothing, because its whole
# row is blocked, gets weights and an output of exactly zero, and zero gradients, never NaN.
#
# The **causal mask** blocks the future: token $i$ sees the tokens $0, \dots, i$. For three tokens:
#
# | query \ key | 0 | 1 | 2 |
# | --- | --- | --- | --- |
# | **0** | sees | blocked | blocked |
# | **1** | sees | sees | blocked |
# | **2** | sees | sees | sees |

# %% [markdown]
# ### Exercise 4 · causal_mask · ★☆☆ · 5 min
#
# A boolean tensor of shape `(seq_len, seq_len)`, True above the diagonal (blocked) and False elsewhere, on the device
# given (on PyTorch's default device where `device` is None).
#
# <details><summary>Hint 1</summary>
#
# Entry `[i, j]` is True where the key comes later than the query, that is where `j` is larger than `i`.
# </details>
# <details><summary>Hint 2: sketch</summary>
#
# Positions `0 ... seq_len - 1` once as a row `(1, seq_len)` and once as a column `(seq_len, 1)`; comparing them
# broadcasts to `(seq_len, seq_len)`. Or a table full of True whose lower part is cut away. Either way: create it on
# `device`.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "causal_mask", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
def causal_mask(seq_len, device=None):
    """True where a key comes later than its query, and so is blocked.

    Shape:
        returns: (seq_len, seq_len), bool, on `device`
    """
    ### BEGIN SOLUTION
    positions = torch.arange(seq_len, device=device)
    return positions[None, :] > positions[:, None]
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_causal_mask", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("causal_mask") as check:
    wanted = torch.tensor([[False, True, True], [False, False, True], [False, False, False]])
    check.equal("three tokens", causal_mask(3), wanted,
                hint="True = blocked, strictly above the diagonal, and the dtype is bool")
    check.shape("one token", causal_mask(1), (1, 1))
    check.equal("device", causal_mask(2, device="meta").device, torch.device("meta"),
                hint="create the mask on `device`")

# %%
alt = """The causal mask of six tokens: bright squares, blocked, above the diagonal; dark
squares, visible, on and below it."""
with picture("causal_mask", alt):
    fig, ax = plt.subplots(figsize=(4.6, 3.8))
    mask = causal_mask(len(tokens))
    image = heatmap(ax, mask, "The causal mask", "key", "query", tokens, tokens, annotate=True)
    fig.colorbar(image, ax=ax, ticks=[0, 1], label="0 = sees, 1 = blocked")

# %% [markdown]
# ### Exercise 5 · scaled_dot_product_attention · ★★☆ · 15 min
#
# The formula above, with an optional mask; returns `(output, weights)`, a tuple of two tensors. Beside what holds for
# every exercise:
#
# - The number of queries and keys may differ (`n != m`), and so may `d_k` and `d_v`. `mask` may be None, or any
#   boolean tensor that broadcasts to the scores `(..., n, m)`.
# - Each row of the weights sums to 1, a blocked key has weight exactly 0, and what numbers stand in its rows of `K`
#   and `V` does not matter.
# - A row that is blocked altogether has weights and output of exactly zero, and so are its gradients, never NaN.
#   Large scores (1e4) are no trouble.
# - With the causal mask, later tokens leave earlier outputs unchanged. Keys and values in another order, both in the
#   same, give the same output. Queries in another order give the same outputs in that order.
#
# <details><summary>Hint 1</summary>
#
# You have written nearly all of it: the dot products in exercise 1, the weights in exercise 2.
# </details>
# <details><summary>Hint 2</summary>
#
# $d_k$ is the size of the last dimension of `Q`; a Python number as divisor leaves the dtype alone. For the mask look
# up `masked_fill` (the one without `_` at its end) or `torch.where`.
# </details>
# <details><summary>Hint 3: sketch</summary>
#
# 1. scores `(..., n, m)` from `Q` and `K`, divided by the root of `d_k`;
# 2. if there is a mask: `-inf` where it is True;
# 3. weights `(..., n, m)`: softmax over the keys, the last dimension; 4. output `(..., n, d_v)`: weights times `V`.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "scaled_dot_product_attention", "locked": false, "points": 20, "schema_version": 3, "solution": true, "task": false}
def scaled_dot_product_attention(Q, K, V, mask=None):
    """Attention of each query over all keys; returns (output, weights).

    Shape:
        Q: (..., n, d_k)
        K: (..., m, d_k)
        V: (..., m, d_v)
        mask: bool, broadcasts to (..., n, m), True = blocked; or None
        returns: output (..., n, d_v), weights (..., n, m)
    """
    ### BEGIN SOLUTION
    scores = pairwise_dot_products(Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = softmax(scores, dim=-1)
    return weights @ V, weights
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_scaled_dot_product_attention", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("scaled_dot_product_attention") as check:
    q = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    k = torch.tensor([[0.0, 1.0, 0.0, 0.0], [math.log(3), 0.0, 0.0, 0.0]])
    v = torch.tensor([[4.0, 0.0], [0.0, 8.0]])
    got = scaled_dot_product_attention(q, k, v)
    wanted = (torch.tensor([[1.0, 6.0]]), torch.tensor([[0.25, 0.75]]))
    check.equal("the tiny example: (output, weights)", got, wanted,
                hint="divide by sqrt(d_k), here 2; softmax over the keys; output first")
    got = scaled_dot_product_attention(q, k, v, mask=torch.tensor([[False, True]]))
    wanted = (torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    check.equal("key 1 blocked", got, wanted, hint="True = blocked; mask before the softmax")
    got = scaled_dot_product_attention(q, k, v, mask=torch.tensor([[True, True]]))
    check.equal("all keys blocked", got, (torch.zeros(1, 2), torch.zeros(1, 2)),
                hint="all scores are -inf: does your softmax give zeros?")
    q, k, v = torch.ones(2, 3, 5, 4), torch.ones(2, 3, 7, 4), torch.ones(2, 3, 7, 6)
    output, weights = scaled_dot_product_attention(q, k, v)
    check.shape("output for 5 queries and 7 keys", output, (2, 3, 5, 6))
    check.shape("weights for 5 queries and 7 keys", weights, (2, 3, 5, 7))

# %% [markdown]
# **Your attention, traced**: two queries, three keys. Each thing has the colour that it keeps through all four
# lessons. Query 0 is like key 0 and takes mostly value 0; query 1 lies between keys 1 and 2 and takes half of each.

# %%
alt = """Five small tables in five colours: Q with two rows, K and V with three rows each, the
weights with two rows and three columns, the output with two rows. Row 0 of the output is close
to row 0 of V, row 1 is the mean of rows 1 and 2 of V."""
with picture("scaled_dot_product_attention", alt):
    Q = torch.tensor([[6.0, 0.0, 0.0, 0.0], [0.0, 6.0, 6.0, 0.0]])
    K = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    V = torch.tensor([[8.0, 0.0], [0.0, 8.0], [4.0, 4.0]])
    output, weights = scaled_dot_product_attention(Q, K, V)
    panels = [
        ("Q", Q, Q_COLOR, "feature", "query"),
        ("K", K, K_COLOR, "feature", "key"),
        ("weights", weights, SCORE_COLOR, "key", "query"),
        ("V", V, V_COLOR, "feature", "key"),
        ("output", output, OUTPUT_COLOR, "feature", "query"),
    ]
    fig, axes = plt.subplots(1, 5, figsize=(10, 2.5), width_ratios=(4, 4, 3, 2.2, 2.2))
    for ax, (name, matrix, colour, across, down) in zip(axes, panels, strict=True):
        shades = LinearSegmentedColormap.from_list(name, ["white", colour])
        title, (rows, columns) = f"{name} {tuple(matrix.shape)}", map(range, matrix.shape)
        heatmap(ax, matrix, title, across, down, columns, rows, True, cmap=shades, vmin=0)

# %% [markdown]
# **Your attention on our sentence**, without a mask and with it. Queries and keys are here the token vectors
# themselves. Look at the first row on the right: the first token can only listen to itself.

# %%
alt = """Two maps of attention weights of six tokens, one colour scale. Left, unmasked: all
cells are filled. Right, causal: all cells above the diagonal are zero, and each row's weight
moves to what is left."""
with picture("scaled_dot_product_attention", alt):
    Q = K = V = X_sentence
    mask = causal_mask(len(tokens))
    maps = {"unmasked": scaled_dot_product_attention(Q, K, V)[1],
            "with the causal mask": scaled_dot_product_attention(Q, K, V, mask=mask)[1]}
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.2))
    for ax, (title, weights) in zip(axes, maps.items(), strict=True):
        image = heatmap(ax, weights, f"Attention weights, {title}", "key (listened to)",
                        "query (listens)", tokens, tokens, annotate=True, vmin=0, vmax=1)
    fig.colorbar(image, ax=axes, label="weight (each row sums to 1)")

# %% [markdown]
# ## 5 · Many heads, as a loop
#
# **The problem.** One map of weights can follow one thing at a time. A verb may want to find who acts *and* the word
# that stands before it. One softmax would have to average the two.
#
# **The idea.** Let several attentions, the **heads**, work side by side. Each has its own matrices and so its own
# queries, keys and values.
#
# **The formula.** For $X$ of shape `(..., seq, d_model)` and heads $h = 0, \dots, H - 1$ (matrices act from the
# right):
#
# $$ Q_h = X W_Q^{(h)}, \quad K_h = X W_K^{(h)}, \quad V_h = X W_V^{(h)}, \qquad \mathrm{head}_h = \mathrm{attention}(Q_h, K_h, V_h) $$
#
# $$ \mathrm{output} = \big[\, \mathrm{head}_0 \;\; \mathrm{head}_1 \;\; \cdots \;\; \mathrm{head}_{H-1} \,\big] \; W_O $$
#
# The heads stand side by side along the last dimension, and $W_O$ mixes them. Usually $d_{head}$ is $d_{model} / H$,
# so that several heads cost about as much as one large one.
#
# **A tiny example.** $X$ has two tokens of `d_model = 2`, namely $(1, 0)$ and $(0, 1)$. Head 0 reads the first
# feature and head 1 the second: $d_{head} = 1$. Head 0 has the queries and keys $1, 0$. Its scores are
# $\begin{pmatrix} 1 & 0 \\ 0 & 0 \end{pmatrix}$, so token 0 has the weights $\tfrac{e}{e+1}, \tfrac{1}{e+1}$ and
# token 1 has $\tfrac12, \tfrac12$. In head 1 the two tokens have swapped their parts.

# %% [markdown]
# Here are four heads with `d_head = 2` for our sentence, made by hand. Each matrix picks the features that its head
# compares. (The factors make the maps crisp.)

# %%
feature = {name: index for index, name in enumerate(features)}
back = 2 * math.pi / 8  # one position back on the circle
head_names = ["the token before", "itself", "nouns", "verb seeks who lives"]
W_Qs, W_Ks = [torch.zeros(8, 2) for _ in range(4)], [torch.zeros(8, 2) for _ in range(4)]
for head in (0, 1):
    W_Qs[head][feature["cos"], 0] = W_Qs[head][feature["sin"], 1] = 14.0
    turn = back if head == 0 else 0.0
    W_Ks[head][feature["cos"]] = torch.tensor([math.cos(turn), math.sin(turn)])
    W_Ks[head][feature["sin"]] = torch.tensor([-math.sin(turn), math.cos(turn)])
W_Qs[2][feature["one"], 0], W_Ks[2][feature["noun"], 0] = 4.0, 1.0
W_Qs[3][feature["verb"], 0], W_Ks[3][feature["alive"], 0] = 6.0, 1.0
W_Vs = [torch.eye(8)[:, 2 * head:2 * head + 2] for head in range(4)]
W_O = torch.eye(8)
print("each of the four W_Q, W_K, W_V:", tuple(W_Qs[0].shape), "  W_O:", tuple(W_O.shape))

# %% [markdown]
# **Predict, then run** (the cell after the exercise draws it): head 3 asks for living things, but only verbs ask. How
# do the rows of the other five tokens look?
#
# ### Exercise 6 · multi_head_attention_loop · ★★☆ · 12 min
#
# Multi-head attention, head by head. `W_Qs`, `W_Ks` and `W_Vs` are lists with one matrix a head; returns
# `(output, list of weights)`, one tensor of weights a head, in order. Beside what holds for every exercise:
#
# - There may be any number of heads, one included. `W_V` may have another number of columns than `W_Q` and `W_K`.
# - `mask` is the same for all heads. The scores have **no head axis** here, so it broadcasts to `(..., seq, seq)`: a
#   mask for each batch element is `(batch, seq, seq)`.
# - Heads are independent: the matrices of one head do not touch the weights of another.
# - A token whose row is blocked altogether has weights of exactly zero in every head and an output of exactly zero,
#   and gradients that are never NaN. With the causal mask, later tokens leave earlier outputs unchanged. Without a
#   mask, tokens in another order give the same outputs in that order.
#
# <details><summary>Hint 1</summary>
#
# Walk through the three lists together. Each step is one call of exercise 5 on three matrix products.
# </details>
# <details><summary>Hint 2: sketch</summary>
#
# Two lists, outputs and weights, grow by one entry a head: output `(..., seq, d_v)`, weights `(..., seq, seq)`. Then
# the outputs side by side along the last dimension give `(..., seq, n_heads * d_v)` (`torch.cat`), and times `W_O`
# `(n_heads * d_v, d_model)` gives `(..., seq, d_model)`.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "multi_head_attention_loop", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def multi_head_attention_loop(X, W_Qs, W_Ks, W_Vs, W_O, mask=None):
    """Multi-head attention, one head after the other; returns (output, list of weights).

    Shape:
        X: (..., seq, d_model)
        W_Qs, W_Ks: lists of (d_model, d_k), one a head
        W_Vs: list of (d_model, d_v), one a head
        W_O: (n_heads * d_v, d_model)
        mask: bool, broadcasts to (..., seq, seq), True = blocked; or None
        returns: output (..., seq, d_model), list of weights (..., seq, seq)
    """
    ### BEGIN SOLUTION
    outputs, all_weights = [], []
    for W_Q, W_K, W_V in zip(W_Qs, W_Ks, W_Vs, strict=True):
        Q, K, V = X @ W_Q, X @ W_K, X @ W_V
        head_output, head_weights = scaled_dot_product_attention(Q, K, V, mask=mask)
        outputs.append(head_output)
        all_weights.append(head_weights)
    return torch.cat(outputs, dim=-1) @ W_O, all_weights
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_multi_head_attention_loop", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("multi_head_attention_loop") as check:
    e = math.e / (math.e + 1)
    two = [torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])]  # a matrix for each head
    output, weights = multi_head_attention_loop(torch.eye(2), two, two, two, torch.eye(2))
    check.equal("the tiny example: number of maps", len(weights), 2,
                hint="return one tensor of weights a head")
    check.equal("the tiny example: head 0", weights[0], torch.tensor([[e, 1 - e], [0.5, 0.5]]),
                hint="head 0 uses the first matrix of each list")
    check.equal("the tiny example: head 1", weights[1], torch.tensor([[0.5, 0.5], [1 - e, e]]),
                hint="head 1 uses the second matrix of each list")
    check.equal("the tiny example: output", output, torch.tensor([[e, 0.5], [0.5, e]]),
                hint="heads side by side along the last dimension")
    mixer = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    output, _ = multi_head_attention_loop(torch.eye(2), two, two, two, mixer)
    check.equal("W_O mixes the heads", output, torch.tensor([[0.5, 2 * e], [e, 1.0]]),
                hint="multiply by W_O from the right, at the end")
    x, mask = torch.ones(3, 5, 8), causal_mask(5)
    output, weights = multi_head_attention_loop(x, W_Qs, W_Ks, W_Vs, W_O, mask=mask)
    check.shape("output of a batch", output, (3, 5, 8))
    first_rows = [w[0, 0].tolist() for w in weights]
    check.equal("the mask reaches every head", first_rows, [[1.0, 0.0, 0.0, 0.0, 0.0]] * 4,
                hint="hand the mask on")

# %%
alt = """Four maps of attention weights, one a head: the first has its weight one left of the
diagonal, the second on the diagonal, the third in the columns of cat and mat, the fourth in the
column of cat for the row of sat and evenly spread elsewhere."""
with picture("multi_head_attention_loop", alt):
    _, maps = multi_head_attention_loop(X_sentence, W_Qs, W_Ks, W_Vs, W_O)
    fig, axes = plt.subplots(1, 4, figsize=(10, 3.2), sharey=True)
    for head, ax in enumerate(axes):
        title = f"head {head}:\n{head_names[head]}"
        image = heatmap(ax, maps[head], title, "key", "", tokens, tokens, vmin=0, vmax=1)
    axes[0].set_ylabel("query")
    fig.colorbar(image, ax=axes, label="weight (each row sums to 1)")

# %% [markdown]
# Rows that ask for nothing in particular (equal scores) spread their attention evenly: softmax must give its weight
# to somebody. And the first token, which has no token before it, takes in head 0 whatever comes nearest.

# %% [markdown]
# ## 6 · One reshape instead of a loop
#
# **The problem.** A loop over heads starts many small matrix products one after the other. A GPU would rather have
# one large one. So all heads go into *one* matrix, and the head becomes one more batch dimension.
#
# **The logic.** $W_Q$ of shape `(d_model, d_model)` holds the matrices of all heads side by side: **head h owns the
# columns** `h * d_head` **to** `(h + 1) * d_head`, with `d_head = d_model / n_heads`. So in $Q = X W_Q$ each token's
# row consists of `n_heads` pieces of length `d_head`:
#
# $$ Q_{s} = \big[\; \underbrace{q^{(0)}_{s}}_{d_{head}} \;\; \underbrace{q^{(1)}_{s}}_{d_{head}} \;\; \cdots \;\big]
# \qquad\Longrightarrow\qquad \mathrm{split}(Q)_{h, s, c} = Q_{s, \; h \cdot d_{head} + c} $$
#
# Two moves do it. First cut the last dimension in two, `(..., seq, d_model)` to `(..., seq, n_heads, d_head)`: no
# number moves. Then swap `seq` and `n_heads`, so that the last two dimensions are one head's table:
# `(..., n_heads, seq, d_head)`.
#
# **A tiny example.** `seq = 2`, `d_model = 4`, `n_heads = 2`. Token 0 is $(0, 1, 2, 3)$ and token 1 is
# $(10, 11, 12, 13)$. Head 0 gets $(0, 1)$ and $(10, 11)$, head 1 gets $(2, 3)$ and $(12, 13)$.

# %% [markdown]
# **Predict, then run.** A tempting short cut: reshape straight to `(n_heads, seq, d_head)`, without the swap. The
# shape is right. What does head 0 get?

# %%
tiny = torch.tensor([[0, 1, 2, 3], [10, 11, 12, 13]])
print("short cut, head 0:", tiny.reshape(2, 2, 2)[0].tolist(), "  wanted: [[0, 1], [10, 11]]")

# %% [markdown]
# The short cut gives head 0 the whole of token 0 and nothing of token 1: it cuts the table by tokens, not by
# features. Nothing raises an error, the model even trains, only worse. Such bugs are found by looking at the numbers.

# %% [markdown]
# ### Exercise 7 · split_heads · ★★☆ · 6 min
#
# Entry `[..., h, s, c]` of the result is entry `[..., s, h * d_head + c]` of `x`. Where `n_heads` does not divide
# `d_model`, it raises a `ValueError`.
#
# <details><summary>Hint 1</summary>
#
# Which tensor method cuts one dimension in two without moving a number, also if the tensor is not contiguous? (`view`
# refuses some tensors.)
# </details>
# <details><summary>Hint 2: sketch</summary>
#
# Check the remainder of `d_model` by `n_heads` first. Then `(..., seq, d_model)`, `(..., seq, n_heads, d_head)`,
# `(..., n_heads, seq, d_head)`: keep all leading sizes in front, and count the dimensions to swap from the end.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "split_heads", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
def split_heads(x, n_heads):
    """Cuts the features into n_heads equal pieces and makes the head a dimension of its own.

    Shape:
        x: (..., seq, d_model)
        returns: (..., n_heads, seq, d_head), d_head = d_model / n_heads
    Raises:
        ValueError: n_heads does not divide d_model
    """
    ### BEGIN SOLUTION
    d_model = x.shape[-1]
    if n_heads < 1 or d_model % n_heads != 0:
        raise ValueError(f"n_heads = {n_heads} does not divide d_model = {d_model}")
    d_head = d_model // n_heads
    pieces = x.reshape(*x.shape[:-1], n_heads, d_head)  # (..., seq, n_heads, d_head)
    return pieces.transpose(-3, -2)
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_split_heads", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("split_heads") as check:
    tiny = torch.tensor([[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]])
    wanted = torch.tensor([[[0.0, 1.0], [10.0, 11.0]], [[2.0, 3.0], [12.0, 13.0]]])
    check.equal("the tiny example", split_heads(tiny, 2), wanted,
                hint="first cut the features, then swap seq and n_heads")
    check.shape("batches of 3 x 5", split_heads(torch.ones(3, 5, 7, 12), 4), (3, 5, 4, 7, 3),
                hint="count the dimensions from the end")
    check.shape("a transposed input", split_heads(torch.ones(6, 4).T, 3), (3, 4, 2),
                hint="reshape works where view does not")
    check.raises("5 heads do not divide 12", ValueError,
                 lambda: split_heads(torch.ones(2, 12), 5), hint="raise it before reshaping")

# %% [markdown]
# **Your split, drawn.** The number in each cell says which column of `x` it came from, and the colour says to which
# head the column belongs.

# %%
alt = """Left: a table of three tokens with eight numbered columns, in four colours of two
columns each. Middle: what split_heads gives, four small tables of one colour each. Right: what
a reshape without the swap gives, small tables of mixed colours."""
with picture("split_heads", alt):
    columns = torch.arange(8.0).expand(3, 8)  # each entry is the number of its column
    tables = {"x: (seq 3, d_model 8)": columns,
              "right: split_heads(x, 4)": split_heads(columns, 4).reshape(12, 2),
              "wrong: reshape only": columns.reshape(12, 2)}
    rows = [f"head {row // 3}, token {row % 3}" for row in range(12)]
    fig, axes = plt.subplots(1, 3, figsize=(10, 4.4), width_ratios=(2, 1.1, 1.1))
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        labels = rows if len(table) == 12 else ["token 0", "token 1", "token 2"]
        heads = table // 2  # the colour: which head a column belongs to
        heatmap(ax, heads, title, "feature", "", range(table.shape[1]), labels, vmin=0, vmax=3)
        for row, col in (table >= 0).nonzero().tolist():
            ink = "black" if table[row, col] >= 4 else "white"
            ax.text(col, row, int(table[row, col]), ha="center", va="center", color=ink)

# %% [markdown]
# ### Exercise 8 · merge_heads · ★☆☆ · 5 min
#
# The way back: entry `[..., s, h * d_head + c]` of the result is entry `[..., h, s, c]` of `x`. So
# `merge_heads(split_heads(x, n_heads))` is `x` again.
#
# <details><summary>Hint 1</summary>
#
# The same two moves as before, undone in the opposite order.
# </details>
# <details><summary>Hint 2: sketch</summary>
#
# `(..., n_heads, seq, d_head)`, `(..., seq, n_heads, d_head)`, `(..., seq, n_heads * d_head)`. After a swap the
# tensor is not contiguous, so `view` would refuse.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "merge_heads", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
def merge_heads(x):
    """Puts the heads side by side again: the inverse of split_heads.

    Shape:
        x: (..., n_heads, seq, d_head)
        returns: (..., seq, n_heads * d_head)
    """
    ### BEGIN SOLUTION
    return x.transpose(-3, -2).flatten(start_dim=-2)
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_merge_heads", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("merge_heads") as check:
    tiny = torch.tensor([[[0.0, 1.0], [10.0, 11.0]], [[2.0, 3.0], [12.0, 13.0]]])
    wanted = torch.tensor([[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]])
    check.equal("the tiny example", merge_heads(tiny), wanted, hint="swap back before you join")
    check.shape("batches of 3 x 5", merge_heads(torch.ones(3, 5, 4, 7, 2)), (3, 5, 7, 8))

# %%
alt = """Three tables of three tokens with eight numbered columns: x, then x split and merged, which
is x again, then x split and only reshaped, in which the columns of the tokens are mixed up."""
with picture("merge_heads", alt):
    columns = torch.arange(8.0).expand(3, 8)
    tables = {"x": columns,
              "right: merge_heads(split_heads(x, 4))": merge_heads(split_heads(columns, 4)),
              "wrong: reshape only": split_heads(columns, 4).reshape(3, 8)}
    rows = ["token 0", "token 1", "token 2"]
    fig, axes = plt.subplots(1, 3, figsize=(10, 1.9), sharey=True)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        heatmap(ax, table // 2, title, "feature", "", range(8), rows, vmin=0, vmax=3)
        for row, col in (table >= 0).nonzero().tolist():
            ink = "black" if table[row, col] >= 4 else "white"
            ax.text(col, row, int(table[row, col]), ha="center", va="center", color=ink)

# %% [markdown]
# ## 7 · Multi-head attention, batched
#
# **The problem.** Do what the loop did, with no loop over heads.
#
# **The formula.** With the heads as a batch dimension, attention itself does not change by a letter:
#
# $$ Q = \mathrm{split}(X W_Q), \quad K = \mathrm{split}(X W_K), \quad V = \mathrm{split}(X W_V), \qquad
# \mathrm{output} = \mathrm{merge}\big(\mathrm{attention}(Q, K, V)\big) \; W_O $$
#
# **A tiny example**, shapes only: a batch of 2 sentences with 5 tokens, `d_model = 8`, 4 heads.
#
# | step | shape |
# | --- | --- |
# | `X` | `(2, 5, 8)` |
# | `X` times `W_Q` | `(2, 5, 8)` |
# | split | `(2, 4, 5, 2)` |
# | scores and weights, a map a head | `(2, 4, 5, 5)` |
# | weights times `V` | `(2, 4, 5, 2)` |
# | merged | `(2, 5, 8)` |
# | times `W_O` | `(2, 5, 8)` |

# %% [markdown]
# **Predict, then run.** Which of these masks fit the scores `(2, 4, 5, 5)` (batch, head, query, key), and what would
# each mean?

# %%
for shape in ((5, 5), (2, 5, 5), (2, 1, 5, 5), (4, 5, 5), (2, 4, 5, 5)):
    try:
        fits = torch.broadcast_shapes(shape, (2, 4, 5, 5)) == (2, 4, 5, 5)
    except RuntimeError:
        fits = False
    print(f"mask {shape!s:<13} {'fits' if fits else 'does not fit'}")

# %% [markdown]
# Broadcasting lines up dimensions from the right. So `(5, 5)` is one mask for all, `(2, 1, 5, 5)` one for each batch
# element, `(4, 5, 5)` one for each head. `(2, 5, 5)` does not fit: its 2 would meet the 4 heads.

# %% [markdown]
# ### Exercise 9 · multi_head_attention · ★★★ · 12 min
#
# All heads at once; returns `(output, weights)` with weights of shape `(..., n_heads, seq, seq)`. Beside what holds
# for every exercise:
#
# - Head h owns the columns `h * d_head` to `(h + 1) * d_head` of `W_Q`, `W_K` and `W_V`. With the matrices of the
#   loop side by side, both give the same output and the same weights.
# - Where `n_heads` does not divide `d_model`, it raises a `ValueError`.
# - `mask` broadcasts to the scores `(..., n_heads, seq, seq)`, by PyTorch's rule and nothing more: a mask for each
#   batch element is `(batch, 1, seq, seq)`.
# - A token whose row is blocked altogether has weights and output of exactly zero, and gradients that are never NaN.
#   With the causal mask, later tokens leave earlier outputs unchanged. Without a mask, tokens in another order give
#   the same outputs in that order. Heads are independent: the columns of one head do not touch the weights of
#   another.
#
# Please write it without a loop over heads: that is the point of it. (No marks hang on that, only the result is
# judged.)
#
# <details><summary>Hint 1</summary>
#
# You have all the parts: exercises 5, 7 and 8 and four matrix products. None of them needs to be changed.
# </details>
# <details><summary>Hint 2: sketch</summary>
#
# Follow the table of shapes above from top to bottom, one line of code a step: project `X` three times and split
# each; attend, mask included; merge; multiply by `W_O`.
# </details>

# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "multi_head_attention", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
def multi_head_attention(X, W_Q, W_K, W_V, W_O, n_heads, mask=None):
    """Multi-head attention, all heads at once; returns (output, weights).

    Shape:
        X: (..., seq, d_model)
        W_Q, W_K, W_V, W_O: (d_model, d_model)
        mask: bool, broadcasts to (..., n_heads, seq, seq), True = blocked; or None
        returns: output (..., seq, d_model), weights (..., n_heads, seq, seq)
    Raises:
        ValueError: n_heads does not divide d_model
    """
    ### BEGIN SOLUTION
    Q = split_heads(X @ W_Q, n_heads)  # (..., n_heads, seq, d_head)
    K = split_heads(X @ W_K, n_heads)
    V = split_heads(X @ W_V, n_heads)
    heads, weights = scaled_dot_product_attention(Q, K, V, mask=mask)
    return merge_heads(heads) @ W_O, weights
    ### END SOLUTION

# %% nbgrader={"cell_type": "code", "grade": false, "grade_id": "check_multi_head_attention", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("multi_head_attention") as check:
    e, eye = math.e / (math.e + 1), torch.eye(2)
    mixer = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    output, weights = multi_head_attention(eye, eye, eye, eye, mixer, n_heads=2)
    wanted = torch.tensor([[[e, 1 - e], [0.5, 0.5]], [[0.5, 0.5], [1 - e, e]]])
    check.equal("section 5's tiny example: weights", weights, wanted,
                hint="head h owns the columns h * d_head to (h + 1) * d_head")
    wanted = torch.tensor([[0.5, 2 * e], [e, 1.0]])
    check.equal("section 5's tiny example: output", output, wanted,
                hint="merge the heads, then multiply by W_O from the right")
    x, eye, mask = torch.ones(2, 5, 8), torch.eye(8), causal_mask(5)
    output, weights = multi_head_attention(x, eye, eye, eye, eye, n_heads=4, mask=mask)
    check.shape("output of a batch", output, (2, 5, 8))
    check.shape("weights of a batch", weights, (2, 4, 5, 5),
                hint="the head is the third dimension from the end")
    wanted = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]).expand(2, 4, 5)
    check.equal("the first token sees itself only", weights[:, :, 0], wanted,
                hint="hand the mask on")
    check.raises("3 heads do not divide 8", ValueError,
                 lambda: multi_head_attention(x, eye, eye, eye, eye, n_heads=3))

# %% [markdown]
# **Predict, then run.** The heads side by side times $W_O$ is the same as a **sum** over heads, each times its own
# rows of $W_O$. The same numbers are added, in another order. How large is the largest difference in float32: exactly
# 0, around 1e-6, around 1e-3? And between your batch and your loop?

# %%
with showing("multi_head_attention"):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 20, 64, generator=generator)
    w_q, w_k, w_v, w_o = (torch.randn(64, 64, generator=generator) / 8 for _ in range(4))
    owned = [slice(16 * head, 16 * head + 16) for head in range(4)]
    lists = [[matrix[:, columns] for columns in owned] for matrix in (w_q, w_k, w_v)]
    batched, _ = multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads=4)
    looped, maps = multi_head_attention_loop(x, *lists, w_o)
    summed = sum(maps[head] @ (x @ w_v[:, owned[head]]) @ w_o[owned[head]] for head in range(4))
    print(f"batch and loop differ by at most           {(batched - looped).abs().max():.1e}")
    print(f"batch and sum over heads differ by at most {(batched - summed).abs().max():.1e}")

# %% [markdown]
# Float32 carries about seven decimal digits, and sums in another order round differently in the last of them (on some
# machines batch and loop add in the same order and agree to the last bit). So equality of floating-point results
# always means *equal within rounding*, and the hidden tests treat yours that way.

# %% [markdown]
# **One map a head**, all from one call, without a mask (above) and with the causal mask (below). Watch *nouns* and
# *verb seeks who lives*: what a head cannot see any more it cannot listen to.

# %%
alt = """Eight maps of attention weights: a column for each of four heads, unmasked above,
causal below. Below, everything above the diagonal is zero; the third head gives the first 'the'
to itself, since no noun is visible yet."""
with picture("multi_head_attention", alt):
    # heads side by side: columns 0 and 1 belong to head 0, 2 and 3 to head 1, ...
    joined = [torch.cat(matrices, dim=1) for matrices in (W_Qs, W_Ks, W_Vs)]
    fig, axes = plt.subplots(2, 4, figsize=(10, 5.6), sharex=True, sharey=True)
    for row, mask in zip(axes, (None, causal_mask(len(tokens))), strict=True):
        _, maps = multi_head_attention(X_sentence, *joined, W_O, n_heads=4, mask=mask)
        for head, ax in enumerate(row):
            title = f"head {head}:\n{head_names[head]}" if mask is None else ""
            image = heatmap(ax, maps[head], title, "", "", tokens, tokens, vmin=0, vmax=1)
        row[0].set_ylabel("query (unmasked)" if mask is None else "query (causal)")
    for ax in axes[1]:
        ax.set_xlabel("key")
    fig.colorbar(image, ax=axes, label="weight (each row sums to 1)")

# %% [markdown]
# ## Summary
#
# | what | formula | shape |
# | --- | --- | --- |
# | scores | $Q K^{\top} / \sqrt{d_k}$ | `(..., n, m)` |
# | mask | True = blocked: score $-\infty$, weight 0 | broadcasts to the scores |
# | weights | softmax over the keys; $-\infty$ everywhere gives zeros | `(..., n, m)`, rows sum to 1 |
# | output | weights times $V$ | `(..., n, d_v)` |
# | one head | $\mathrm{attention}(X W_Q^{(h)}, X W_K^{(h)}, X W_V^{(h)})$ | `(..., seq, d_head)` |
# | split, merge | head h owns columns `h * d_head` to `(h + 1) * d_head` | `(..., seq, d_model)` ↔ `(..., n_heads, seq, d_head)` |
# | all heads | merged heads times $W_O$ | `(..., seq, d_model)` |
#
# Three things to keep: softmax needs its largest score subtracted; scores need $\sqrt{d_k}$, or gradients vanish; and
# heads are cut from the *features*, so a reshape alone mixes tokens up.

# %% [markdown]
# ## Ready to hand in?
#
# Choose *Runtime → Restart and run all* (in Jupyter: *Kernel → Restart Kernel and Run All Cells*), then read this
# table.

# %%
ready(
    "pairwise_dot_products", "softmax", "causal_mask", "scaled_dot_product_attention",
    "multi_head_attention_loop", "split_heads", "merge_heads", "multi_head_attention",
    written=["why_scale"],
)

# %% [markdown]
# **To hand in**: save, then *File → Download → Download .ipynb*, and upload that file. Its name does not matter.
#
# ## What comes next
#
# In lesson 2, *Attention with PyTorch*, the same mechanism becomes modules with parameters that learn: you train one
# to copy its input, watch its maps change, and prove that yours equals `nn.MultiheadAttention`. Lesson 3 gives tokens
# a place in the sentence, lesson 4 stacks everything into the Transformer's encoder.
#
# **To read on**: A. Vaswani and others, [*Attention Is All You Need*](https://arxiv.org/abs/1706.03762) (2017),
# section 3.2, is what you have just built. Its footnote 4 is section 3 of this notebook in one sentence.
