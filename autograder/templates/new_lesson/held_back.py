"""Wrong answers that are not in the bank, to measure what diagnosis makes of them; `of` names the bank's own case."""

from autograder.misconception import held_back


@held_back("squared_distances", of="with_the_root")
def norm_of_the_difference(X, Y):
    return (X[..., :, None, :] - Y[..., None, :, :]).norm(dim=-1)


@held_back("squared_distances", of="")
def signs_kept(X, Y):
    return (X.unsqueeze(-2) - Y.unsqueeze(-3)).sum(-1)
