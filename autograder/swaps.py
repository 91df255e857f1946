"""What stands in for what in a mutant: operators, comparisons, names of torch and of Python. Used by changes.py."""

from __future__ import annotations

import ast

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Eq: (ast.NotEq, ast.GtE),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
IN_PLACE = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}
NEIGHBOURS = {
    "sin": ("cos",), "cos": ("sin",), "zeros": ("ones",), "ones": ("zeros",), "empty": ("zeros",),
    "amax": ("amin", "sum"), "amin": ("amax",), "max": ("min",), "min": ("max",), "mean": ("sum", "amax"),
    "sum": ("mean",), "exp": ("exp2",), "sqrt": ("square",), "square": ("abs",), "clamp": ("clip",),
    "cat": ("stack",), "ceil": ("floor",), "floor": ("ceil",), "softmax": ("log_softmax",), "float64": ("float32",),
    "float32": ("float64",), "zeros_like": ("ones_like",), "numel": ("dim",), "mse_loss": ("l1_loss",),
    "Adam": ("AdamW", "SGD"), "values": ("keys",), "append": ("extend",), "extend": ("append",), "pi": ("e",),
    "inf": ("pi",), "triu": ("tril",), "enable_grad": ("no_grad",), "no_grad": ("enable_grad",), "copy_": ("add_",),
    "parameters": ("buffers",), "masked_fill": ("masked_fill_",), "double": ("float",), "reshape": ("view",),
    "flatten": ("squeeze",),
}  # fmt: skip
CASTS = ("detach()", "float()", "double()", "half().to(torch.get_default_dtype())")
ERRORS = {"ValueError": "RuntimeError"}
