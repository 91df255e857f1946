"""The maps that feedback draws beside a wrong answer: the sentence that the notebook shows, and nothing hidden."""

import math

import torch

from autograder.picture import picture

TOKENS = ("the", "cat", "sat", "on", "the", "mat")
KINDS = {
    "the": [1, 0, 0, 0, 0],
    "cat": [0, 1, 0, 0, 1],
    "sat": [0, 0, 1, 0, 0],
    "on": [0, 0, 0, 1, 0],
    "mat": [0, 1, 0, 0, 0],
}
PLACES = [2 * math.pi * position / 8 for position in range(len(TOKENS))]
X = torch.tensor([[*KINDS[t], 1, math.cos(p), math.sin(p)] for t, p in zip(TOKENS, PLACES, strict=True)])
MASK = torch.ones(len(TOKENS), len(TOKENS)).triu(1).bool()  # causal: True = blocked
HALVES = [torch.eye(8)[:, :4], torch.eye(8)[:, 4:]]  # what kind of word it is, and where it stands


@picture("True = blocked (1) in the causal mask of six tokens", TOKENS, TOKENS)
def causal_mask(answers):
    return answers.causal_mask(len(TOKENS)).float()


@picture("attention weights of the notebook's sentence, with the causal mask", TOKENS, TOKENS)
def scaled_dot_product_attention(answers):
    return answers.scaled_dot_product_attention(X.clone(), X.clone(), X.clone(), mask=MASK.clone())[1]


@picture("attention weights of the notebook's sentence, one map a head: four features each", TOKENS, TOKENS)
def multi_head_attention_loop(answers):
    lists = [[half.clone() for half in HALVES] for _ in range(3)]
    return answers.multi_head_attention_loop(X.clone(), *lists, torch.eye(8))[1]


@picture("attention weights of the notebook's sentence, one map a head: four features each", TOKENS, TOKENS)
def multi_head_attention(answers):
    return answers.multi_head_attention(X.clone(), *(torch.eye(8) for _ in range(4)), 2)[1]
