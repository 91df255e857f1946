"""Random inputs for `autograder prove`: one comparison of two answers a call, with nothing the lesson does not promise."""

from autograder.sampling import compare


def squared_distances(draw, student, reference):
    n, m, d = draw.size(), draw.size(), draw.size()
    X, Y = draw.tensor(n, d, lead=True), draw.tensor(m, d, lead=True)
    compare(draw, student.squared_distances, reference.squared_distances, X, Y)
