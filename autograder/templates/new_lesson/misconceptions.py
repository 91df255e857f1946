"""Wrong answers that students give, each with the idea it violates and the test that is named for it."""

import torch

from autograder.misconception import wrong


@wrong(
    "squared_distances",
    idea="The squared distance is asked for; here its root was taken.",
    caught_by="test_values_worked_by_hand",
)
def with_the_root(X, Y):
    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).square().sum(-1).sqrt()


@wrong(
    "squared_distances",
    idea="Row i belongs to X and column j to Y; here they are the other way round.",
    caught_by="test_values_worked_by_hand",
)
def table_turned(X, Y):
    return (Y.unsqueeze(-2) - X.unsqueeze(-3)).square().sum(-1)


@wrong(
    "squared_distances",
    idea="The squares are added up over the features; here their mean was taken.",
    caught_by="test_values_worked_by_hand",
)
def mean_over_features(X, Y):
    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).square().mean(-1)


@wrong(
    "squared_distances",
    idea="Differences are squared before they are added up; here their absolute values were added up.",
    caught_by="test_values_worked_by_hand",
)
def absolute_differences(X, Y):
    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).abs().sum(-1)


@wrong(
    "squared_distances",
    idea="Far from the origin the expanded square is a difference of large numbers, of which only rounding errors are left.",
    caught_by="test_far_from_the_origin",
)
def expanded(X, Y):
    lengths = X.square().sum(-1).unsqueeze(-1) + Y.square().sum(-1).unsqueeze(-2)
    return lengths - 2 * torch.matmul(X, Y.mT)
