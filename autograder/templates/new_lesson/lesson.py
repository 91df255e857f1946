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
# # My lesson
#
# How far apart are two points? This lesson asks it of many points at once: the table of distances is what nearest
# neighbours, clusters and kernels are computed from.

# %% [markdown]
# include: badge

# %% [markdown]
# **How the exercises work.** Replace `raise NotImplementedError` by your code and run the check cell below it. The
# hidden tests look at the same function more closely. What they check is written under *Promised*, and here for every
# exercise:
#
# - The result has the dtype and the device of the arguments, and is as accurate as that dtype allows.
# - Arguments are never modified, and they may be non-contiguous, for example a transposed matrix.
# - Gradients flow to every floating-point argument.
# - The result does not depend on torch's default dtype, the random seed, the grad mode or earlier calls, and your code
#   leaves all of these as they were.

# %%
import matplotlib.pyplot as plt
import torch

# %%
# include: _toolbox.py

# %% [markdown]
# ## 1 · A table of distances
#
# Let $x_i$ be row $i$ of $X$ and $y_j$ row $j$ of $Y$. Their squared distance adds up what they differ by in each of
# the $d$ features:
#
# $$D_{ij} = \sum_{k=1}^{d} (X_{ik} - Y_{jk})^2$$
#
# **A tiny example.** The points $(0, 0)$ and $(3, 4)$ have the squared distances $25$ from each other and $0$ from
# themselves.

# %% [markdown]
# ### Exercise 1 · squared_distances · ★☆☆ · 10 min
#
# All squared distances between the rows of `X` and the rows of `Y`, without a loop over the rows.
#
# **Promised:**
#
# - Entry `[..., i, j]` belongs to row `i` of `X` and row `j` of `Y`; `n`, `m` and `d` may differ, and any may be 1.
# - Any number of leading dimensions works, also none; `X` and `Y` share them.
# - Moving all points by the same vector changes nothing, and the distance of a point from itself is exactly zero.
# - Points far from the origin are no less accurate: the formula above holds, not one that only equals it on paper.
# - `torch.cdist` and the like are what you build here, so they are not allowed.
#
# <details><summary>Hint 1</summary>
#
# Broadcasting compares everything with everything, once the two have a dimension of 1 where the other has its rows.
#
# </details>
# <details><summary>Hint 2: a sketch</summary>
#
# 1. `X` with a new dimension before its last: `(..., n, 1, d)`; `Y` with one before its last two: `(..., 1, m, d)`
# 2. their difference: `(..., n, m, d)`
# 3. squared, and summed over the features: `(..., n, m)`
#
# </details>


# %% nbgrader={"cell_type": "code", "grade": true, "grade_id": "squared_distances", "locked": false, "points": 90, "schema_version": 3, "solution": true, "task": false}
def squared_distances(X, Y):
    """Squared Euclidean distances between the rows of X and the rows of Y.

    Shape:
        X: (..., n, d)
        Y: (..., m, d)
        returns: (..., n, m)
    """
    ### BEGIN SOLUTION
    difference = X.unsqueeze(-2) - Y.unsqueeze(-3)  # (..., n, m, d)
    return difference.square().sum(dim=-1)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "check_squared_distances", "locked": true, "schema_version": 3, "solution": false, "task": false}
with checking("squared_distances") as check:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    table = squared_distances(points, points)
    check.shape("one row a point of X, one column a point of Y", table, (2, 2))
    check.equal(
        "the tiny example",
        table,
        torch.tensor([[0.0, 25.0], [25.0, 0.0]]),
        hint="square first, then add up over the features",
    )
    check.shape(
        "another number of points in Y",
        squared_distances(points, torch.zeros(5, 2)),
        (2, 5),
        hint="rows of the result belong to X, columns to Y",
    )

# %% [markdown]
# The table as a picture: points on a line, so the distance grows away from the diagonal.

# %%
with picture(
    "squared_distances",
    alt="Heat map of squared distances between 12 points on a line: zero on the diagonal, growing to both sides.",
):
    line = torch.arange(12.0)[:, None]
    figure, ax = plt.subplots(figsize=(5, 4))
    image = heatmap(ax, squared_distances(line, line), "Squared distances on a line", "point of Y", "point of X")
    figure.colorbar(image, label="squared distance")

# %% [markdown]
# ## In your own words · why_not_expanded · 10 points · 5 min
#
# On paper $|x - y|^2 = |x|^2 + |y|^2 - 2\, x \cdot y$. Why is the right-hand side a bad idea for points far from the
# origin? Answer in two or three sentences.

# %% [markdown] nbgrader={"cell_type": "markdown", "grade": true, "grade_id": "why_not_expanded", "locked": false, "points": 10, "schema_version": 3, "solution": true, "task": false}
# ### BEGIN SOLUTION
# The three terms are large and almost cancel. Each is rounded to the digits of its own size, so the small difference
# consists of rounding errors, and may even be negative.
#
# **Rubric (10 points).** 5: large terms cancel. 5: they are rounded, so the difference has few digits left.
# ### END SOLUTION

# %% [markdown]
# ## Ready to hand in?
#
# Choose *Runtime → Restart and run all* (in Jupyter: *Kernel → Restart Kernel and Run All Cells*), then read this
# table.

# %%
ready("squared_distances", written=("why_not_expanded",))
