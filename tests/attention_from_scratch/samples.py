"""Random inputs of lesson 1, for `autograder prove`: one comparison of two answers a call."""

from autograder.sampling import compare, with_infinities

PARTS = ("output", "weights")


def pairwise_dot_products(draw, student, reference):
    n, m, d = draw.size(), draw.size(), draw.size()
    X, Y = draw.tensor(n, d, lead=True), draw.tensor(m, d, lead=True)
    compare(draw, student.pairwise_dot_products, reference.pairwise_dot_products, X, Y)


def softmax(draw, student, reference):
    scale, shift = draw.pick([(1.0, 0.0), (1.0, 0.0), (0.1, 0.0), (100.0, 0.0), (1.0, 1e3), (1.0, 1e4), (1.0, -1e4)])
    x = draw.tensor(*draw.pick([(5,), (1,), (3, 4), (2, 3, 4), (2, 1, 2, 3)]), scale=scale) + shift
    x = with_infinities(draw, x) if draw.chance(0.3) else x
    tame = scale <= 1 and shift == 0  # else a gradient is a difference of numbers that rounding has made equal
    kwargs = {} if draw.chance(0.4) else {"dim": draw.size(-x.dim(), x.dim() - 1)}
    compare(draw, student.softmax, reference.softmax, x, gradients=tame, **kwargs)


def causal_mask(draw, student, reference):
    compare(draw, student.causal_mask, reference.causal_mask, draw.size(1, 20), **draw.pick([{}, {"device": "cpu"}]))


def scaled_dot_product_attention(draw, student, reference):
    n, m, d_k, d_v = (draw.size() for _ in range(4))
    scale = draw.pick([1.0, 1.0, 0.1, 100.0])
    Q, K = draw.tensor(n, d_k, lead=True, scale=scale), draw.tensor(m, d_k, lead=True, scale=scale)
    V, mask = draw.tensor(m, d_v, lead=True), draw.mask(*draw.lead, n, m)
    ours, model = student.scaled_dot_product_attention, reference.scaled_dot_product_attention
    compare(draw, ours, model, Q, K, V, mask=mask, what=PARTS, gradients=scale <= 1)


def multi_head_attention_loop(draw, student, reference):
    n_heads, seq, d_model, d_k, d_v = (draw.size(1, 4) for _ in range(5))
    X, W_O = draw.tensor(seq, d_model, lead=True, scale=1.0), draw.tensor(n_heads * d_v, d_model, scale=0.5)
    W_Qs, W_Ks, W_Vs = ([draw.tensor(d_model, d, scale=0.5) for _ in range(n_heads)] for d in (d_k, d_k, d_v))
    mask = draw.mask(*draw.lead, seq, seq)
    ours, model = student.multi_head_attention_loop, reference.multi_head_attention_loop
    compare(draw, ours, model, X, W_Qs, W_Ks, W_Vs, W_O, mask=mask, what=PARTS)


def split_heads(draw, student, reference):
    n_heads = draw.size(1, 4)
    d_model = n_heads * draw.size(1, 4) if draw.chance(0.8) else draw.size(1, 9)
    x = draw.tensor(draw.size(1, 5), d_model, lead=True)
    compare(draw, student.split_heads, reference.split_heads, x, n_heads=n_heads)


def merge_heads(draw, student, reference):
    x = draw.tensor(draw.size(1, 4), draw.size(1, 5), draw.size(1, 4), lead=True)
    compare(draw, student.merge_heads, reference.merge_heads, x)


def multi_head_attention(draw, student, reference):
    n_heads, seq = draw.size(1, 4), draw.size(1, 5)
    d_model = n_heads * draw.size(1, 3) if draw.chance(0.85) else draw.size(1, 9)
    X = draw.tensor(seq, d_model, lead=True, scale=1.0)
    matrices = [draw.tensor(d_model, d_model, scale=0.5) for _ in range(4)]
    mask = draw.mask(*draw.lead, n_heads, seq, seq)
    ours, model = student.multi_head_attention, reference.multi_head_attention
    compare(draw, ours, model, X, *matrices, n_heads=n_heads, mask=mask, what=PARTS)
