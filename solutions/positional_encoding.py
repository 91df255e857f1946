# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Positional encoding
#
# *Dog bites man* and *man bites dog* hold the same three words, and attention as you built it in lessons 1 and 2
# cannot tell them apart. This lesson gives each position a vector of its own and adds it to the word. You will see
# why the paper [*Attention Is All You Need*](https://arxiv.org/abs/1706.03762) chose sines and cosines for that,
# and what they buy.

# %% [markdown]
# include: badge

# %% [markdown]
# **What you will have built at the end** (about 85 minutes):
#
# | part | you write | you see | minutes |
# | --- | --- | --- | --- |
# | 1 · Attention ignores order | nothing yet | the same weights in another order | 6 |
# | 2 · The sinusoidal encoding | `sinusoidal_positional_encoding` | heat map, single sinusoids, order restored | 20 |
# | 3 · Wavelengths | `wavelengths` | the frequency spectrum, a smooth binary counter | 10 |
# | 4 · Relative position | `relative_shift` | a step as a rotation, similarity between positions | 16 |
# | 5 · Words and positions together | `embed` | why words are scaled by $\sqrt{d_{model}}$ | 12 |
# | 6 · Learned or fixed | `LearnedPositionalEmbedding` | both learn a task that needs order; one ends early | 12 |
# | In your own words | `why_sinusoids` | | 10 |
#
# You need: tensors and broadcasting, sine and cosine, and a first look at attention (lesson 1). PyTorch's
# ready-made functions are all allowed in this lesson.

# %% [markdown]
# **How the exercises work.** Replace `raise NotImplementedError` by your code and run the check cell below it. The
# hidden tests look at the same function more closely. What they check is written in each exercise under *Promised*,
# and here for all of them:
#
# - The result is on the device and in the dtype that the exercise names.
# - Arguments are never modified, and a call leaves a module's parameters as they are. This means values as well as
#   `requires_grad` and `.grad`.
# - Arguments may be non-contiguous, for example a transposed matrix or every second row of a larger one.
# - Gradients flow to every floating-point tensor that takes part.
# - The result does not depend on torch's default dtype, the random seed, the grad mode or earlier calls.
# - Your code leaves the default dtype, the random seed and the grad mode as it found them.
#
# An exercise that is still open does not break the cells after it: its pictures wait until you come back.

# %%
import functools
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

# %%
# include: _toolbox.py

# %% [markdown]
# ## 1 · Attention ignores order
#
# Attention compares every word with every other one by dot products. Nothing in
#
# $$\text{weights} = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right), \qquad
# \text{output} = \text{weights}\; V, \qquad Q = X W_Q,\; K = X W_K,\; V = X W_V$$
#
# asks *where* a word stands. Let a permutation matrix $P$ reorder the rows of $X$. Then $Q, K, V$ are reordered in
# the same way, the scores become $P Q (P K)^\top = P\,(Q K^\top)\,P^\top$, softmax works on each row by itself, and
# so
#
# $$\text{output}(P X) = P\; \text{output}(X).$$
#
# Every word gets exactly what it got before. In books this is called *permutation equivariance*. (A causal mask
# from lesson 1 breaks it a little, for it lets later words see more words than earlier ones. Which of the words
# before it came first, a query of the first layer still cannot tell.)
#
# **A tiny example.** Two words with the scores $\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}$. Swap the words and
# the scores are $\begin{pmatrix} 4 & 3 \\ 2 & 1 \end{pmatrix}$. The first word's row was $(1, 2)$: 1 for itself, 2
# for the other. It is now the second row, $(2, 1)$, and still says: 1 for itself, 2 for the other.
#
# **Predict, then run.** The cell below feeds *dog bites man* and *man bites dog* through the same attention layer.
# For which of the three words does the output change?

# %%
SENTENCE = ["dog", "bites", "man"]
SWAPPED = [2, 1, 0]  # man bites dog


def toy_attention(X):
    """One head of lesson 1 with fixed random matrices: X (seq, 16) -> output (seq, 16), weights (seq, seq)."""
    draw = torch.Generator().manual_seed(7)
    W_Q, W_K, W_V = (torch.randn(16, 16, generator=draw) / 4 for _ in range(3))
    Q, K, V = X @ W_Q, X @ W_K, X @ W_V
    weights = torch.softmax(Q @ K.mT / math.sqrt(16), dim=-1)
    return weights @ V, weights


def change_by_word(first, second):
    """Largest change of each word's output from the first order of the sentence to the second: list of floats."""
    before, after = toy_attention(first)[0], toy_attention(second)[0]
    return [(before[row] - after[SWAPPED.index(row)]).abs().max().item() for row in range(len(SENTENCE))]


word_vectors = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
for word, change in zip(SENTENCE, change_by_word(word_vectors, word_vectors[SWAPPED]), strict=True):
    print(f"{word:>6}: its output changes by at most {change:.1e}")

# %% [markdown]
# <details><summary>What happens, and why</summary>
#
# None of them. The last digits may differ, for sums are taken in another order; the number is of the size of
# float32 rounding. Who bites whom is lost. The picture shows it in the weights: the same nine numbers, in other
# places.
#
# </details>

# %%
with picture(
    "attention without positions",
    alt="Two heat maps of attention weights, dog bites man and man bites dog. The weight of each pair"
    " of words is the same in both; rows and columns have only changed places.",
):
    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    for ax, order in zip(axes, ([0, 1, 2], SWAPPED), strict=True):
        names = [SENTENCE[row] for row in order]
        weights = toy_attention(word_vectors[order])[1]
        heatmap(
            ax,
            weights,
            " ".join(names),
            "key",
            "query",
            xticks=names,
            yticks=names,
            annotate=True,
            vmin=0,
            vmax=1,
        )

# %% [markdown]
# ## 2 · The sinusoidal encoding
#
# We want a vector for each position, to be added to the word that stands there. First ideas, and where they fail:
#
# | idea | trouble |
# | --- | --- |
# | add the number `pos` to every entry | grows without bound: at position 500 the word drowns |
# | add `pos / seq_len` | bounded, but one step means something else in every sentence |
# | write `pos` in binary, one digit an entry | bounded and unique, but it jumps: 7 = 0111, 8 = 1000 |
#
# The third one is close. Its digits switch at different speeds, the last one at each step, the one before at every
# second step, and so on. Replace the switches by smooth waves, and you have the paper's encoding. Columns come in
# pairs; pair `i` turns by its own frequency:
#
# $$PE[pos,\, 2i] = \sin\!\left(\frac{pos}{10000^{2i / d_{model}}}\right), \qquad
# PE[pos,\, 2i + 1] = \cos\!\left(\frac{pos}{10000^{2i / d_{model}}}\right), \qquad i = 0, 1, 2, \dots$$
#
# **A tiny example.** For `d_model = 4` there are two pairs. Their divisors are $10000^{0} = 1$ and $10000^{2/4} =
# 100$:
#
# | pos | column 0: sin(pos / 1) | column 1: cos(pos / 1) | column 2: sin(pos / 100) | column 3: cos(pos / 100) |
# | --- | --- | --- | --- | --- |
# | 0 | 0 | 1 | 0 | 1 |
# | 1 | 0.84147 | 0.54030 | 0.01000 | 0.99995 |
# | 2 | 0.90930 | -0.41615 | 0.02000 | 0.99980 |
#
# For `d_model = 3` the divisors are $1$ and $10000^{2/3} \approx 464.16$, and the last sine has no cosine beside
# it.

# %% [markdown]
# ### Exercise 1 · sinusoidal_positional_encoding · ★★☆ · 15 min
#
# Write the whole table at once, without a loop over positions.
#
# **Promised:**
#
# - The result has shape `(max_len, d_model)`, sines in the even columns and cosines in the odd ones.
# - The result is float32, whatever torch's default dtype is.
# - Any `d_model >= 1` works: with an odd one the last column is a sine, and `d_model = 1` is one column of sines.
# - `device` says where the table lies; `None` means torch's default device.
# - Angles may be computed in float32 or float64: what float32 loses at positions up to 512 is allowed.
# - A longer table begins with the shorter one: row `pos` does not depend on `max_len`.
#
# <details><summary>Hint 1</summary>
#
# An entry depends on its row only through `pos`, and on its column only through `i`. Make a column of positions and
# a row of divisors; broadcasting makes the table of all angles from the two.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Sine and cosine of one pair share their angle, so there are only half as many columns of angles as columns of the
# result, rounded up. A slice with step 2 writes into every second column at once.
#
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# Let `n_pairs` be half of `d_model`, rounded up.
#
# 1. positions as a column: `(max_len, 1)`
# 2. numbers of the pairs: `(n_pairs,)`; from them the divisors: `(n_pairs,)`
# 3. angles, by broadcasting: `(max_len, n_pairs)`
# 4. an empty float32 result `(max_len, d_model)`; sines of all angles go to its even columns
# 5. cosines go to its odd columns, of which there may be one fewer: then the last angle has no partner
#
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "sinusoidal_positional_encoding", "locked": false, "points": 25, "schema_version": 3, "solution": true, "task": false}
def sinusoidal_positional_encoding(max_len, d_model, device=None):
    """Table of sines (even columns) and cosines (odd columns), one row a position.

    Shape:
        returns: (max_len, d_model), float32, on device
    """
    ### BEGIN SOLUTION
    n_pairs = (d_model + 1) // 2
    pos = torch.arange(max_len, dtype=torch.float64, device=device).unsqueeze(-1)  # (max_len, 1)
    i = torch.arange(n_pairs, dtype=torch.float64, device=device)  # (n_pairs,)
    # In float64: a large angle in float32 has few digits left behind the point.
    angle = pos / 10000 ** (2 * i / d_model)  # (max_len, n_pairs)
    PE = torch.empty(max_len, d_model, dtype=torch.float32, device=device)
    PE[:, 0::2] = torch.sin(angle)
    PE[:, 1::2] = torch.cos(angle[:, : d_model // 2])
    return PE
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "check_sinusoidal_positional_encoding", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("sinusoidal_positional_encoding") as check:
    table = sinusoidal_positional_encoding(3, 4)
    check.shape("one row a position, one column an entry", table, (3, 4), hint="rows are positions")
    worked = torch.tensor(
        [
            [0.0, 1.0, 0.0, 1.0],
            [0.841471, 0.540302, 0.010000, 0.999950],
            [0.909297, -0.416147, 0.019999, 0.999800],
        ]
    )
    check.equal(
        "the worked example, d_model = 4",
        table,
        worked,
        hint="a pair shares one angle; in the exponent 2i / d_model, i is the number of the pair",
    )
    odd = sinusoidal_positional_encoding(5, 3)
    check.shape("an odd d_model", odd, (5, 3), hint="with 3 columns there are 2 sines and 1 cosine")
    check.equal(
        "an odd d_model: last column",
        odd[:, 2],
        torch.tensor([0.0, 0.002154, 0.004309, 0.006463, 0.008618]),
        hint="the divisor of the last pair is 10000 to the power 2/3",
    )
    check.shape("d_model = 1", sinusoidal_positional_encoding(5, 1), (5, 1), hint="one sine, no cosine")

# %% [markdown]
# **Predict, then run.** The next cell draws your table for 100 positions and 64 columns. On which side of the
# picture do the columns hardly change from the first row to the last: on the left or on the right? And what colours
# will they have there?

# %%
with picture(
    "sinusoidal_positional_encoding",
    alt="Heat map of the encoding, 100 positions by 64 columns. Columns on the left change with every"
    " few positions, those on the right stay almost constant: sines dark grey, near 0, cosines "
    "bright, near 1.",
):
    figure, ax = plt.subplots(figsize=(9, 5))
    image = heatmap(
        ax,
        sinusoidal_positional_encoding(100, 64),
        "The sinusoidal encoding, d_model = 64",
        "column of the encoding",
        "position in the sentence (tokens)",
        vmin=-1,
        vmax=1,
    )
    figure.colorbar(image, label="value of the entry")

# %% [markdown]
# <details><summary>What happens, and why</summary>
#
# On the right. The divisors grow from 1 to almost 10000, so the angles of the last pairs barely leave 0 within 100
# positions: their sines stay near 0 and their cosines near 1, which gives the fine stripes. Each row is the
# fingerprint of one position.
#
# </details>
#
# Now cut the picture into columns. Each one is a single sinusoid over the positions: every one slower than the one
# before, all of them between -1 and 1.

# %%
with picture(
    "sinusoidal_positional_encoding",
    alt="Four sine curves over positions 0 to 99, from columns 0, 8, 16 and 24. Each is a sine wave "
    "about three times slower than the one before it.",
):
    figure, axes = plt.subplots(4, 1, figsize=(9, 6), sharex=True, sharey=True)
    encoding = sinusoidal_positional_encoding(100, 64)
    for ax, column in zip(axes, (0, 8, 16, 24), strict=True):
        ax.plot(encoding[:, column], color=plt.cm.cividis(column / 32), marker=".", markersize=4)
        ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.set_ylabel(f"column {column}")
    axes[0].set_title("Single sinusoids of the encoding, d_model = 64")
    axes[-1].set_xlabel("position in the sentence (tokens)")

# %% [markdown]
# **Order again.** The same experiment as in part 1, now with the encoding added to the words: *dog* at position 0
# and *dog* at position 2 are no longer the same vector.

# %%
with picture(
    "sinusoidal_positional_encoding",
    alt="Bars for dog, bites and man: how much each word's output changes when the sentence is "
    "reversed. Without the encoding all three are zero, with it all three are far above zero.",
):
    position = sinusoidal_positional_encoding(3, 16)
    changes = {
        "words alone": change_by_word(word_vectors, word_vectors[SWAPPED]),
        "words + encoding": change_by_word(word_vectors + position, word_vectors[SWAPPED] + position),
    }
    figure, ax = plt.subplots(figsize=(7, 3.6))
    for offset, (label, heights), colour, hatch in zip(
        (-0.2, 0.2), changes.items(), ("0.6", OUTPUT_COLOR), ("", "//"), strict=True
    ):
        bars = ax.bar(
            [column + offset for column in range(3)], heights, 0.38, label=label, color=colour, hatch=hatch
        )
        ax.bar_label(bars, fmt="%.2f")
    ax.set_xticks(range(3), SENTENCE)
    ax.set(title="Does the output notice who bites whom?", xlabel="word", ylabel="largest change of output")
    ax.margins(y=0.15)
    ax.legend()

# %% [markdown]
# *Bites* stands in the middle of both sentences, and still its output changes: the words around it now carry their
# places, so it can tell the one before it from the one after.

# %% [markdown]
# ## 3 · Wavelengths: from 6 tokens to 60,000
#
# After how many positions does pair `i` repeat itself? When its angle has grown by one full turn, $2\pi$:
#
# $$\frac{\lambda_i}{10000^{2i / d_{model}}} = 2\pi \quad\Longrightarrow\quad
# \lambda_i = 2\pi \cdot 10000^{2i / d_{model}}, \qquad i = 0, \dots, \lceil d_{model} / 2 \rceil - 1$$
#
# Wavelengths are measured in tokens. They form a geometric series: from one pair to the next they grow by the same
# *factor*. The short ones tell neighbours apart, the long ones tell the beginning of a text from its end.
#
# **A tiny example.** For `d_model = 4`: $\lambda_0 = 2\pi \approx 6.28$ and $\lambda_1 = 2\pi \cdot 100 \approx
# 628.32$ tokens. For `d_model = 3` there are two as well, $6.28$ and $2\pi \cdot 10000^{2/3} \approx 2916.4$.

# %% [markdown]
# ### Exercise 2 · wavelengths · ★☆☆ · 5 min
#
# **Promised:**
#
# - The result has one number a pair, `ceil(d_model / 2)` of them, shortest first; any `d_model >= 1` works.
# - The result is float64 and as accurate as float64 is, whatever torch's default dtype is.
#
# <details><summary>Hint 1</summary>
#
# You have already computed $10000^{2i/d_{model}}$: it was the divisor in exercise 1.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Numbers that were rounded to float32 on the way do not become exact again by a conversion at the end. Ask for
# float64 where the first tensor is made.
#
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# Numbers of the pairs in float64, `(ceil(d_model / 2),)`; exponents of the same shape; the base to these powers;
# one full turn times that.
#
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "wavelengths", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
def wavelengths(d_model):
    """Number of positions after which each sine-cosine pair repeats, in tokens.

    Shape:
        returns: (ceil(d_model / 2),), float64
    """
    ### BEGIN SOLUTION
    pair = torch.arange(math.ceil(d_model / 2), dtype=torch.float64)
    return 2 * math.pi * 10000 ** (2 * pair / d_model)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "check_wavelengths", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("wavelengths") as check:
    check.equal(
        "d_model = 4",
        wavelengths(4),
        torch.tensor([6.283185307179586, 628.3185307179587], dtype=torch.float64),
        hint="a full turn times the divisor of exercise 1, computed in float64 from the start",
    )
    check.shape(
        "an odd d_model",
        wavelengths(7),
        (4,),
        hint="the last sine has a wavelength too, though it has no cosine",
    )
    check.shape("d_model = 1", wavelengths(1), (1,), hint="one sine, one wavelength")

# %% [markdown]
# **Predict, then run.** `d_model = 64` has 32 pairs. In a sentence of 50 tokens, how many of them complete at least
# one full turn?

# %%
with picture(
    "wavelengths",
    alt="Wavelengths of the 32 pairs for d_model 64 on a logarithmic axis: a straight line from 6 to "
    "about 47,000 tokens. Only the first 8 points lie below the line that marks a sentence of 50 "
    "tokens.",
):
    figure, ax = plt.subplots(figsize=(9, 4))
    spectrum = wavelengths(64)
    short = spectrum <= 50
    numbers = torch.arange(len(spectrum))
    ax.semilogy(
        numbers[short],
        spectrum[short],
        "o",
        color=OUTPUT_COLOR,
        label=f"{int(short.sum())} pairs turn within 50 tokens",
    )
    ax.semilogy(
        numbers[~short], spectrum[~short], "s", color="0.45", label=f"{int((~short).sum())} pairs do not"
    )
    for length, name, at in ((50, "a sentence", 26), (5000, "a chapter", 15)):
        ax.axhline(length, color="0.7", linestyle="--", linewidth=1, zorder=0)
        ax.annotate(f"{name}: {length} tokens", (at, length), ha="center", va="bottom", color="0.3")
    ax.set(
        title="Frequency spectrum of the encoding, d_model = 64",
        xlabel="number of the pair, i",
        ylabel="wavelength (tokens)",
    )
    ax.legend(loc="upper left")

# %% [markdown]
# <details><summary>What happens, and why</summary>
#
# Only 8 of 32. From $2\pi \cdot 10000^{i/32} \le 50$ follows $i \le 7.2$. The straight line on a logarithmic axis
# is the geometric series. The other 24 pairs are there for longer texts: 50 tokens are only a small arc for them,
# on which they are almost straight rulers.
#
# </details>
#
# **A smooth binary counter.** Count in binary and each digit switches half as often as the one to its right. Below
# the digits are those five of your columns whose wavelengths come closest to the periods of those digits (drawn as
# `(1 - sin) / 2`, so that low and high are as in the bits).

# %%
with picture(
    "wavelengths",
    alt="Above: binary digits of 0 to 127 as dark and bright blocks, each row switching twice as fast"
    " as the one over it. Below: five columns of the encoding over the same positions, the same "
    "pattern with soft edges.",
):
    periods = [8, 16, 32, 64, 128]
    spectrum, encoding = wavelengths(128), sinusoidal_positional_encoding(128, 128)
    bits = torch.stack([torch.arange(128) % period >= period / 2 for period in periods]).flip(0).double()
    nearest = [int((spectrum.log() - math.log(period)).abs().argmin()) for period in periods]
    waves = torch.stack([(1 - encoding[:, 2 * pair]) / 2 for pair in nearest]).flip(0)
    figure, axes = plt.subplots(2, 1, figsize=(9, 5))
    for ax, rows, title, what, labels in (
        (axes[0], bits, "Binary digits", "period (tokens)", periods),
        (
            axes[1],
            waves,
            "Columns of the encoding",
            "wavelength (tokens)",
            [f"{float(spectrum[pair]):.1f}" for pair in nearest],
        ),
    ):
        heatmap(
            ax, rows, title, "position in the sentence (tokens)", what, yticks=labels[::-1], vmin=0, vmax=1
        )

# %% [markdown]
# Both write down the position with digits of different speed. The waves have two advantages: neighbours never
# differ by a jump, and, as the next part shows, a step of `k` positions does the same to every position.

# %% [markdown]
# ## 4 · Relative position: a step is a rotation
#
# In language it matters less that a word is the 37th than that it stands three before the verb. How does $PE[pos +
# k]$ come from $PE[pos]$? Take one pair with the frequency $\omega_i = 1 / 10000^{2i/d_{model}}$. The addition
# theorems say
#
# $$\begin{aligned}
# \sin(\omega_i (pos + k)) &= \;\;\,\cos(\omega_i k)\,\sin(\omega_i\, pos) + \sin(\omega_i k)\,\cos(\omega_i\, pos) \\
# \cos(\omega_i (pos + k)) &= -\sin(\omega_i k)\,\sin(\omega_i\, pos) + \cos(\omega_i k)\,\cos(\omega_i\, pos)
# \end{aligned}$$
#
# and this is a matrix times the pair at `pos`:
#
# $$\begin{pmatrix} PE[pos + k,\, 2i] \\ PE[pos + k,\, 2i + 1] \end{pmatrix} =
# \begin{pmatrix} \cos(\omega_i k) & \sin(\omega_i k) \\ -\sin(\omega_i k) & \cos(\omega_i k) \end{pmatrix}
# \begin{pmatrix} PE[pos,\, 2i] \\ PE[pos,\, 2i + 1] \end{pmatrix}$$
#
# It is a rotation, and `pos` does not occur in it. Put one such block for each pair on the diagonal of a large
# matrix $M$, zeros elsewhere, and $M\, PE[pos] = PE[pos + k]$ for *every* `pos`. So a linear layer such as $W_Q$
# can learn to ask for "three places before me", wherever it stands.
#
# **A tiny example.** `d_model = 2`, `k = 1`. There is one pair with $\omega_0 = 1$:
#
# $$M = \begin{pmatrix} 0.540 & 0.841 \\ -0.841 & 0.540 \end{pmatrix}, \qquad
# M\, PE[0] = M \begin{pmatrix} 0 \\ 1 \end{pmatrix} = \begin{pmatrix} 0.841 \\ 0.540 \end{pmatrix} = PE[1].$$
#
# **Predict, then run.** What is $M$ for `k = 0`? What do you get when you multiply the matrix for `k = 5` by the one
# for `k = -5`? The check cell of the exercise tells you.

# %% [markdown]
# ### Exercise 3 · relative_shift · ★★★ · 12 min
#
# **Promised:**
#
# - The result is a `(d_model, d_model)` matrix `M`, float32 or float64, as you like.
# - `M @ PE[pos]` is `PE[pos + k]` for every `pos`, where `PE` is the table of exercise 1.
# - A negative `k` goes back, `k = 0` stays.
# - `d_model` is even, `d_model = 2` included.
# - The matrix only depends on `k` and `d_model`, not on torch's default dtype.
#
# <details><summary>Hint 1</summary>
#
# Only the angle $\omega_i k$ is new. For each pair it is the angle of position `k` in exercise 1, with its sign.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Each pair fills four entries of the matrix: rows `2i`, `2i + 1` and columns `2i`, `2i + 1`. A loop over the pairs
# is fine. Without one: index with a tensor of all even numbers, once for the rows and once for the columns.
#
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# 1. the angle of each pair: `(d_model / 2,)`
# 2. zeros `(d_model, d_model)`, of a dtype that you name
# 3. both diagonal entries of each block: the cosine of its angle
# 4. upper right entry (even row, odd column): plus the sine; lower left (odd row, even column): minus the sine
#
# If your positions run backwards, the two sines have changed places.
#
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "relative_shift", "locked": false, "points": 20, "schema_version": 3, "solution": true, "task": false}
def relative_shift(k, d_model):
    """Matrix M that moves the encoding by k positions: M @ PE[pos] = PE[pos + k], for an even d_model.

    Shape:
        returns: (d_model, d_model), float32 or float64
    """
    ### BEGIN SOLUTION
    even = torch.arange(0, d_model, 2)  # rows and columns of the sines
    turn = k / 10000 ** (even.double() / d_model)  # (d_model / 2,)
    M = torch.zeros(d_model, d_model, dtype=torch.float64)
    M[even, even] = M[even + 1, even + 1] = torch.cos(turn)
    M[even, even + 1] = torch.sin(turn)
    M[even + 1, even] = -torch.sin(turn)
    return M
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "check_relative_shift", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("relative_shift") as check:
    check.shape("shape", relative_shift(1, 6), (6, 6), hint="one row and one column an entry of the encoding")
    check.equal(
        "the worked example, d_model = 2, k = 1",
        relative_shift(1, 2).float(),
        torch.tensor([[0.540302, 0.841471], [-0.841471, 0.540302]]),
        hint="look at where the minus sign stands",
    )
    check.equal("k = 0 stays", relative_shift(0, 6).float(), torch.eye(6), hint="cos 0 = 1 and sin 0 = 0")
    check.equal(
        "5 ahead and 5 back",
        relative_shift(5, 6).float() @ relative_shift(-5, 6).float(),
        torch.eye(6),
        hint="a rotation and the opposite rotation",
    )
    # From columns of known values, so that this check does not need exercise 1: d_model = 4, positions 1 and 3.
    at_1 = torch.tensor([0.841471, 0.540302, 0.010000, 0.999950])
    at_3 = torch.tensor([0.141120, -0.989992, 0.029996, 0.999550])
    check.equal(
        "from position 1 to 3, d_model = 4",
        relative_shift(2, 4).float() @ at_1,
        at_3,
        hint="each pair has its own angle; the second pair turns 100 times more slowly",
    )
    check.equal("and back, k = -2", relative_shift(-2, 4).float() @ at_3, at_1, hint="keep the sign of k")

# %%
with picture(
    "relative_shift",
    alt="Left: heat map of the 12 by 12 matrix for k = 3, blocks of two by two on the diagonal, zero "
    "elsewhere. Right: the first two pairs as points on circles; arrows from each position to the"
    " one three later all turn by the same angle.",
):
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), width_ratios=(1.2, 1, 1))
    image = heatmap(
        axes[0], relative_shift(3, 12), "relative_shift(3, 12)", "column (from)", "row (to)", vmin=-1, vmax=1
    )
    figure.colorbar(image, ax=axes[0], label="value of the entry")
    M, encoding = relative_shift(3, 12).double(), sinusoidal_positional_encoding(11, 12).double()
    for ax, pair, positions in ((axes[1], 0, (0, 1, 2)), (axes[2], 1, (0, 5, 10))):
        circle = torch.linspace(0, 2 * math.pi, 200)
        ax.plot(circle.sin(), circle.cos(), color="0.85", zorder=0)
        for pos, colour in zip(positions, ("#440154", "#31688e", "#b8a500"), strict=True):
            here, there = encoding[pos][2 * pair : 2 * pair + 2], (M @ encoding[pos])[2 * pair : 2 * pair + 2]
            ax.annotate(
                "",
                there.tolist(),
                here.tolist(),
                arrowprops={"arrowstyle": "->", "color": colour, "connectionstyle": "arc3,rad=-0.3"},
            )
            ax.plot(*here, "o", color=colour)
            ax.annotate(str(pos), (1.18 * here).tolist(), ha="center", va="center", color=colour)
            ax.plot(*there, "s", color=colour, fillstyle="none")
            ax.annotate(str(pos + 3), (0.8 * there).tolist(), ha="center", va="center", color=colour)
        ax.set(
            title=f"Pair {pair}: k = 3 turns by {3 / 10000 ** (2 * pair / 12) * 180 / math.pi:.0f}°",
            xlabel=f"column {2 * pair} (sine)",
            ylabel=f"column {2 * pair + 1} (cosine)",
            xlim=(-1.4, 1.4),
            ylim=(-1.4, 1.4),
        )
        ax.set_aspect("equal")

# %% [markdown]
# Full dots are positions, open squares are where $M$ takes them: three further on. On one circle all arrows turn by
# the same angle, wherever they start.
#
# ### Similarity between positions
#
# Attention compares by dot products, so look at the dot product of two encodings. Each pair contributes $\sin a
# \sin b + \cos a \cos b = \cos(a - b)$, hence
#
# $$PE[a] \cdot PE[b] = \sum_i \cos(\omega_i\, (a - b)).$$
#
# Only the distance $a - b$ is left. With $a = b$ every cosine is 1, so the squared length of each row is `d_model /
# 2` (`d_model` even).
#
# **Predict, then run.** Which pair is more similar: positions 10 and 13, or positions 70 and 73? And is position 40
# more similar to 37 or to 43?

# %%
with picture(
    "sinusoidal_positional_encoding",
    alt="Left: heat map of dot products between 100 positions, a bright diagonal band of constant "
    "width. Right: dot product against distance from positions 35, 50 and 65; the three curves "
    "lie on each other and are symmetric, highest at distance 0.",
):
    encoding = sinusoidal_positional_encoding(100, 64)
    similarity = encoding @ encoding.mT
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
    image = heatmap(
        axes[0], similarity, "PE[a] · PE[b], d_model = 64", "position b (tokens)", "position a (tokens)"
    )
    figure.colorbar(image, ax=axes[0], label="dot product")
    for pos, style, width, colour in (
        (35, "-", 6, "#00224e"),
        (50, "--", 4, "0.65"),
        (65, ":", 2, OUTPUT_COLOR),
    ):
        distance = range(-34, 35)
        axes[1].plot(
            distance,
            [float(similarity[pos, pos + step]) for step in distance],
            style,
            linewidth=width,
            color=colour,
            label=f"seen from position {pos}",
        )
    axes[1].set(
        title="The same curve from everywhere", xlabel="distance b - a (tokens)", ylabel="dot product"
    )
    axes[1].set_xlim(-50, 50)
    axes[1].legend()

# %% [markdown]
# <details><summary>What happens, and why</summary>
#
# They are equally similar: both are 3 apart. And 37 and 43 are equally similar to 40, for the cosine is symmetric.
# By itself the dot product knows how far, but not whether before or after. The matrices $W_Q$ and $W_K$ change
# that: put `relative_shift(-3, d_model)` into the query and the peak moves from distance 0 to distance -3. You will
# watch a model learn this in part 6.
#
# </details>

# %% [markdown]
# ## 5 · Words and positions together: the factor sqrt(d_model)
#
# The Transformer's input is a sum, row by row:
#
# $$X = \sqrt{d_{model}}\; W_{embed}[token\_ids] \;+\; PE[0 : seq]$$
#
# A sum and not a concatenation: it costs no extra width, and in a space of 512 dimensions two families of vectors
# can lie beside each other without much overlap. But why the factor? Because of sizes. The paper shares $W_{embed}$
# with the last layer that predicts words, and there entries of variance `1 / d_model` are right (lesson 1, why we
# scale: dot products should have variance 1). Such a row has
#
# $$\|W_{embed}[t]\| \approx \sqrt{d_{model} \cdot \tfrac{1}{d_{model}}} = 1, \qquad\text{but}\qquad \|PE[pos]\| = \sqrt{d_{model} / 2}.$$
#
# **A tiny example.** `d_model = 2`, a word $(0.6, -0.8)$ of length 1 at position 0, where the encoding is $(0, 1)$.
# Scaled by $\sqrt 2$ it is $(0.849, -1.131)$, and the row of $X$ is $(0.849, -0.131)$. Without the factor it would
# be $(0.6, 0.2)$.
#
# **Predict, then run.** With `d_model = 512` and no factor, how many times longer than the word is the encoding?
# The first picture after the exercise answers.

# %% [markdown]
# ### Exercise 4 · embed · ★★☆ · 10 min
#
# Use your `sinusoidal_positional_encoding`. A row of `W_embed` is the vector of one token.
#
# **Promised:**
#
# - `token_ids` may have any number of leading dimensions, also none: `(..., seq)` becomes `(..., seq, d_model)`.
# - Every sequence starts at position 0, and a token that occurs twice gets the same word vector at both places.
# - The words are scaled by `sqrt(d_model)`; the encoding is not.
# - The result has `W_embed`'s dtype and device, in float16, bfloat16, float32 and float64.
# - Added to float64 words, an encoding of float32 accuracy is enough; the words stay as accurate as float64 is.
# - An odd `d_model` works, and so does a sequence of one token.
# - Gradients flow to `W_embed`; a token that occurs twice receives both.
# - Neither `token_ids` nor `W_embed` is modified.
#
# <details><summary>Hint 1</summary>
#
# A matrix that is indexed with a tensor of integers gives one row for each integer, in the shape of that tensor.
#
# </details>
# <details><summary>Hint 2</summary>
#
# float16 plus float32 is float32 in torch. What has to be converted before the sum, so that the result keeps the
# dtype of `W_embed`? Which of the shapes of your two arguments tells you `seq`, and which one `d_model`?
#
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# 1. rows of the words: `(..., seq, d_model)`, times the square root of the last size of `W_embed`
# 2. the table: `(seq, d_model)`, made on the device of `W_embed`, then converted to its dtype
# 3. their sum; broadcasting repeats the table over all leading dimensions
#
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "embed", "locked": false, "points": 20, "schema_version": 3, "solution": true, "task": false}
def embed(token_ids, W_embed):
    """Input of a Transformer: word vectors times sqrt(d_model), plus the sinusoidal encoding.

    Shape:
        token_ids: (..., seq), int64
        W_embed: (vocabulary, d_model)
        returns: (..., seq, d_model), dtype and device of W_embed
    """
    ### BEGIN SOLUTION
    seq, d_model = token_ids.shape[-1], W_embed.shape[-1]
    words = W_embed[token_ids] * math.sqrt(d_model)  # (..., seq, d_model)
    places = sinusoidal_positional_encoding(seq, d_model, device=W_embed.device)
    return words + places.to(W_embed.dtype)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "check_embed", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("embed") as check:
    tiny = torch.tensor([[0.6, -0.8], [1.0, 0.0]])
    check.equal(
        "the worked example",
        embed(torch.tensor([0]), tiny),
        torch.tensor([[0.848528, -0.131371]]),
        hint="scale the word, then add row 0 of the encoding",
    )
    check.equal(
        "two sentences of two tokens",
        embed(torch.tensor([[1, 0], [1, 1]]), tiny),
        torch.tensor([[[1.414214, 1.0], [1.690000, -0.591068]], [[1.414214, 1.0], [2.255685, 0.540302]]]),
        hint="each sentence starts at position 0",
    )
    check.equal(
        "float16 stays float16",
        embed(torch.tensor([0]), tiny.half()),
        torch.tensor([[0.8486, -0.1315]]).half(),
        hint="convert the encoding to the dtype of W_embed before you add it",
    )
    leaf = tiny.clone().requires_grad_()
    embed(torch.tensor([1, 1, 0]), leaf).sum().backward()
    check.equal(
        "gradients",
        leaf.grad,
        torch.tensor([[1.414214, 1.414214], [2.828427, 2.828427]]),
        hint="token 1 occurs twice, so its row receives two gradients; .detach() and .data stop them",
    )

# %%
with picture(
    "embed",
    alt="Length of vectors against d_model from 8 to 512. Words without the factor stay at length 1 "
    "while the encoding grows to 16. With the factor, words grow to 22.6 and stay above the "
    "encoding throughout.",
):
    sizes = [8, 16, 32, 64, 128, 256, 512]
    lengths = {"encoding": [], "word, scaled": [], "word, not scaled": []}
    for size in sizes:
        vectors = torch.randn(50, size, generator=torch.Generator().manual_seed(size)) / math.sqrt(size)
        alone = embed(torch.arange(50), torch.zeros(50, size))  # no word: what is left is the encoding
        for label, rows in zip(
            lengths, (alone, embed(torch.arange(50), vectors) - alone, vectors), strict=True
        ):
            lengths[label].append(float(rows.norm(dim=-1).mean()))
    figure, ax = plt.subplots(figsize=(8, 4))
    for (label, values), style, colour in zip(
        lengths.items(), ("--o", "-s", ":^"), ("black", OUTPUT_COLOR, "0.5"), strict=True
    ):
        ax.plot(sizes, values, style, color=colour, label=label)
        ax.annotate(
            f"{values[-1]:.1f}", (512, values[-1]), xytext=(6, 0), textcoords="offset points", va="center"
        )
    ax.set(
        title="How long are words and encodings?",
        xlabel="d_model",
        ylabel="mean length of a vector",
        xlim=(0, 560),
    )
    ax.legend()

# %% [markdown]
# <details><summary>What happens, and why</summary>
#
# Sixteen times: $\sqrt{512 / 2} = 16$ against 1. The first layer would see almost only positions. With the factor
# the word has the length $\sqrt{512} \approx 22.6$, a little more than the encoding, whatever `d_model` is.
#
# </details>
#
# The same in one sentence. Its last word is its first one again: the upper picture has two equal rows, the sum has
# none.

# %%
with picture(
    "embed",
    alt="Three heat maps for the sentence the dog bites the: scaled words, the encoding, and their "
    "sum. The two rows of the are equal at the top and differ in the sum.",
):
    sentence, ids = ["the", "dog", "bites", "the"], torch.tensor([0, 1, 2, 0])
    vectors = torch.randn(3, 24, generator=torch.Generator().manual_seed(4)) / math.sqrt(24)
    total, alone = embed(ids, vectors), embed(ids, torch.zeros(3, 24))
    figure, axes = plt.subplots(3, 1, figsize=(9, 6))
    parts = (
        (total - alone, "sqrt(d_model) · W_embed[token_ids]"),
        (alone, "PE[0 : seq]"),
        (total, "embed: their sum"),
    )
    for ax, (rows, title) in zip(axes, parts, strict=True):
        image = heatmap(ax, rows, title, "column", "word", yticks=sentence, vmin=-3, vmax=3)
    figure.colorbar(image, ax=axes, label="value of the entry")

# %% [markdown]
# ## 6 · Learned or fixed
#
# BERT and GPT-2 do without the formula. They keep a table of numbers, one row a position, and let training find
# them:
#
# $$\text{output} = x + \text{table}[0 : seq]$$
#
# | | fixed sinusoids | learned table |
# | --- | --- | --- |
# | parameters | none | `max_len * d_model` |
# | longest text | none given (though quality falls beyond what was seen in training) | `max_len`, not one token more |
# | structure | a step is a rotation, from the start | must be learned, each row by itself |
# | a row that training rarely reaches | as good as any other | stays near its random start |
# | results in the paper (its table 3, row E) | almost the same | almost the same |
#
# **A tiny example.** `max_len = 4, d_model = 2`, the table has 8 numbers. An `x` of shape `(5, 3, 2)`, five
# sentences of three tokens, gets rows 0, 1 and 2, the same for all five. Row 3 waits for a longer sentence, and its
# gradient is zero. A sentence of five tokens is an error.

# %% [markdown]
# ### Exercise 5 · LearnedPositionalEmbedding · ★★☆ · 10 min
#
# **Promised:**
#
# - Its only parameter is one trainable table of `max_len * d_model` numbers; name and start values are yours.
# - `forward(x)` returns `x` plus rows `0` to `seq - 1` of the table, for `x` of shape `(..., seq, d_model)`.
# - Any number of leading dimensions works, also none, and any `seq` from 1 to `max_len`.
# - A sequence longer than `max_len` raises `ValueError`.
# - Gradients flow to `x` and to the table; rows that were not used receive zero.
# - Tests give `x` the dtype and device of the table, and the result keeps them, in all four float types.
# - `x` is not modified, and training or evaluation mode makes no difference.
#
# A start that works well is small and random, for example normal with a standard deviation of 0.02 as in BERT and
# GPT-2.
#
# <details><summary>Hint 1</summary>
#
# `nn.Parameter` around a tensor makes it a parameter; `nn.Embedding` holds one for you. A plain tensor as attribute
# is invisible to the optimiser.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Where in the shape of `x` is `seq`, counted from the end? That place is right for any number of leading
# dimensions. A slice that runs past the end of a table gets shorter without an error, so you have to look at the
# length yourself.
#
# </details>
# <details><summary>Hint 3: a sketch</summary>
#
# `__init__`: call the parent's; keep one parameter `(max_len, d_model)`. `forward`: read `seq`; if there are fewer
# rows than that, raise with a message that names both numbers; take the first `seq` rows, `(seq, d_model)`; add,
# and broadcasting does the rest.
#
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "LearnedPositionalEmbedding", "locked": false, "points": 15, "schema_version": 3, "solution": true, "task": false}
class LearnedPositionalEmbedding(nn.Module):
    """Adds one learned vector a position; ValueError for a sequence longer than max_len.

    Shape:
        x: (..., seq, d_model)
        returns: same shape as x
    """

    def __init__(self, max_len, d_model):
        ### BEGIN SOLUTION
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(max_len, d_model))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        seq, max_len = x.shape[-2], self.table.shape[0]
        if seq > max_len:
            raise ValueError(f"the sequence has {seq} tokens, the table only {max_len} rows")
        return x + self.table[:seq]
        ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "check_LearnedPositionalEmbedding", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("LearnedPositionalEmbedding") as check:
    module = LearnedPositionalEmbedding(4, 2)
    sizes = [parameter.numel() for parameter in module.parameters() if parameter.requires_grad]
    check.equal(
        "one parameter of max_len * d_model numbers", sizes, [8], hint="nn.Parameter or nn.Embedding, once"
    )
    rows = module(torch.zeros(4, 2))
    check.shape("shape of the result", module(torch.zeros(5, 3, 2)), (5, 3, 2), hint="the shape of x")
    check.equal(
        "the same rows for every sentence",
        module(torch.ones(5, 3, 2)) - 1,
        rows[:3].expand(5, 3, 2),
        hint="row 0 belongs to the first token of each sentence",
    )
    check.raises(
        "a sequence that is too long",
        ValueError,
        lambda: module(torch.zeros(5, 2)),
        hint="compare seq with max_len",
    )
    module(torch.zeros(5, 3, 2)).sum().backward()
    received = next(module.parameters()).grad.reshape(4, 2)
    check.equal(
        "gradients of the table",
        received,
        torch.tensor([[5.0, 5.0], [5.0, 5.0], [5.0, 5.0], [0.0, 0.0]]),
        hint="five sentences use rows 0 to 2, nobody uses row 3",
    )

# %% [markdown]
# ### A task that needs order
#
# *At each place, say the token that stood one place before.* One attention head, eight different tokens in random
# order, sentences of 16 tokens. Three models differ only in what they add to the words: nothing, your fixed
# encoding, your learned table.
#
# **Predict, then run.** Which of the three learn it? For the one that does not: will its loss stay at $\ln 8
# \approx 2.08$, as if it guessed blindly?


# %%
def say_the_one_before(add_position, parameters, steps=300):
    """Trains one head on sentences of 16 random tokens: losses, and a function from token ids to weights."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((8, 32), (32, 32), (32, 32), (32, 32), (32, 8))
    leaves = [(torch.randn(shape, generator=draw) / math.sqrt(32)).requires_grad_() for shape in shapes]
    W_words, W_Q, W_K, W_V, W_out = leaves

    def run(ids):
        X = add_position(math.sqrt(32) * W_words[ids])
        weights = torch.softmax((X @ W_Q) @ (X @ W_K).mT / math.sqrt(32), dim=-1)
        return weights @ (X @ W_V) @ W_out, weights

    optimiser = torch.optim.Adam([*leaves, *parameters], lr=3e-3)
    losses = []
    for _ in range(steps):
        ids = torch.randint(8, (32, 16), generator=draw)
        guesses = run(ids)[0][:, 1:]
        loss = nn.functional.cross_entropy(guesses.reshape(-1, 8), ids[:, :-1].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, lambda ids: run(ids)[1].detach()


@functools.cache  # trained once, for the three pictures below
def trained_models():
    """What say_the_one_before gives for each of the three models, and the learned table."""
    learned = LearnedPositionalEmbedding(16, 32)
    return {
        "nothing added": say_the_one_before(lambda words: words, []),
        "fixed sinusoids": say_the_one_before(
            lambda words: words + sinusoidal_positional_encoding(words.shape[-2], 32), []
        ),
        "learned table": say_the_one_before(learned, list(learned.parameters())),
    }, learned


with picture(
    "LearnedPositionalEmbedding",
    alt="Loss against training step for three models. Without positions it stays near 1.85; with the "
    "fixed encoding and with the learned table it falls to zero, with the fixed one in fewer "
    "steps.",
):
    trained, learned = trained_models()
    figure, ax = plt.subplots(figsize=(8, 4))
    for (label, (losses, _)), style, colour in zip(
        trained.items(), (":", "-", "--"), ("0.5", "black", OUTPUT_COLOR), strict=True
    ):
        ax.plot(losses, style, color=colour, linewidth=2, label=label)
    ax.axhline(math.log(8), color="0.8", linewidth=1, zorder=0)
    ax.annotate("blind guess, ln 8", (300, math.log(8)), ha="right", va="bottom", color="0.4")
    ax.set(title="Learning to say the token before", xlabel="training step", ylabel="loss (nats per token)")
    ax.legend(loc="center right")

# %% [markdown]
# <details><summary>What happens, and why</summary>
#
# Both models with positions learn it. A table that starts with small random numbers takes longer, for each of its
# rows has to find a place of its own, while the sinusoids bring the rotation with them. Without positions the loss
# stalls near 1.85, a little below a blind guess: the head still sees *which* tokens are in the sentence, and one
# that occurs often is a better guess. It is the order that it cannot see.
#
# </details>
#
# What did they learn? Left and middle: attention weights of the two models that succeeded. Each query looks at the
# key one place before it, a bright line beside the diagonal. Right: similarities between the rows of your learned
# table, which started as noise.

# %%
with picture(
    "LearnedPositionalEmbedding",
    alt="Three heat maps. Fixed and learned model: attention weights with a bright line one place "
    "left of the diagonal. Right: dot products of the learned rows, largest on the diagonal.",
):
    ids = torch.randint(8, (16,), generator=torch.Generator().manual_seed(9))
    trained, learned = trained_models()
    table = learned(torch.zeros(16, 32)).detach()
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    for ax, label in zip(axes[:2], ("fixed sinusoids", "learned table"), strict=True):
        heatmap(
            ax,
            trained[label][1](ids),
            f"Attention: {label}",
            "key position",
            "query position",
            vmin=0,
            vmax=1,
        )
    heatmap(axes[2], table @ table.mT, "Learned rows: dot products", "position b", "position a")

# %% [markdown]
# Now a sentence of 24 tokens. The formula simply goes on; the table has no row 16.

# %%
with picture(
    "LearnedPositionalEmbedding",
    alt="Attention of the fixed model on 24 tokens, eight more than in training: the line one place "
    "left of the diagonal goes on beyond position 16, and becomes blurred there.",
):
    trained, learned = trained_models()
    try:
        learned(torch.zeros(24, 32))
    except ValueError as error:
        print("learned table, 24 tokens: ValueError:", error)
    ids = torch.randint(8, (24,), generator=torch.Generator().manual_seed(9))
    figure, ax = plt.subplots(figsize=(6, 5))
    heatmap(
        ax,
        trained["fixed sinusoids"][1](ids),
        "Fixed sinusoids on 24 tokens, trained on 16",
        "key position",
        "query position",
        vmin=0,
        vmax=1,
    )
    ax.axhline(15.5, color="white", linestyle="--", linewidth=1)

# %% [markdown]
# Below the dashed line the model is in unknown country: positions that training never showed. The encoding is
# defined there, but what the model makes of it is less sure. Defined everywhere is not the same as good everywhere.

# %% [markdown]
# ## In your own words · why_sinusoids · 10 points · 10 min
#
# A friend says: "All this is too complicated. I add the number `pos` itself to each word vector." Answer in 6 to 10
# sentences, with your own pictures as evidence where they help:
#
# 1. Why must anything be added at all? Name the property of attention that makes it necessary.
# 2. What is wrong with adding `pos`? And why does the encoding use many wavelengths instead of one?
# 3. What does `relative_shift` show about the encoding, and how can an attention layer use it?
# 4. When would you prefer a learned table, and what do you lose by it?

# %% [markdown] nbgrader={"cell_type": "markdown", "grade": true, "grade_id": "why_sinusoids", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
# ### BEGIN SOLUTION
# **1.** Attention is permutation equivariant: if the words change places, each word gets the same output as before,
# in its new place. Who bites whom cannot be seen, so the place of a word has to be written into its vector.
#
# **2.** The number `pos` grows without bound. At position 500 it is hundreds of times larger than the entries of a
# word, and longer texts than those in training bring values never seen. It also changes all columns alike, which is
# one direction for everything. Sines and cosines stay between -1 and 1. A single wavelength would not do: a short
# one repeats itself, so that distant positions look the same, and a long one hardly differs between neighbours.
# Many of them together act like the digits of a binary number: fast ones for neighbours, slow ones for the rough
# place.
#
# **3.** A step of `k` positions is one fixed linear map, a rotation of each pair, the same wherever one starts.
# Since $W_Q$ and $W_K$ are linear maps, a head can learn "the word three before me" once and use it everywhere; and
# the dot product of two encodings only depends on their distance.
#
# **4.** A learned table is simple and free to fit the data, and about as good when texts are never longer than
# `max_len` and there is enough training data for every row. It costs `max_len * d_model` parameters, ends at
# `max_len`, and has to learn for each row what the formula gives for nothing.
#
# **Rubric (10 points).** 2: equivariance or an equal argument. 2: unbounded scale of `pos` against bounded
# sinusoids. 2: short wavelengths for neighbours, long ones against repetition. 3: same linear map or rotation for
# every `pos` (2), use by the linear maps or dot products of attention (1). 1: one fair reason for and one against a
# learned table.
# ### END SOLUTION

# %% [markdown]
# ## Summary
#
# | question | answer | where |
# | --- | --- | --- |
# | Why positions at all? | attention is permutation equivariant | part 1 |
# | What is added? | $\sin(pos / 10000^{2i/d_{model}})$ in even columns, the cosine in odd ones | part 2 |
# | How slow do the waves get? | $\lambda_i = 2\pi \cdot 10000^{2i/d_{model}}$ tokens, a geometric series | part 3 |
# | Why sine *and* cosine? | together they rotate: a step of `k` is one matrix for all positions | part 4 |
# | What does a dot product of two encodings know? | the distance, not the direction | part 4 |
# | Why $\sqrt{d_{model}}$? | so that words are not drowned by encodings | part 5 |
# | Learned or fixed? | about equal within `max_len`; only fixed goes on beyond it | part 6 |

# %%
ready(
    "sinusoidal_positional_encoding",
    "wavelengths",
    "relative_shift",
    "embed",
    "LearnedPositionalEmbedding",
    written=("why_sinusoids",),
)

# %% [markdown]
# ## What comes next
#
# In lesson 4, *transformer encoder*, `embed` becomes the first line of a whole encoder: residual connections, layer
# norm, feed-forward networks, and N layers of them.
#
# To read on: today's large models rarely add an encoding. RoPE ([Su et al. 2021](https://arxiv.org/abs/2104.09864))
# applies the rotation of part 4 to queries and keys themselves, so that their dot product holds the distance
# exactly. ALiBi ([Press et al. 2022](https://arxiv.org/abs/2108.12409)) subtracts a multiple of the distance from
# the scores. You have just built all that one needs to understand both.
