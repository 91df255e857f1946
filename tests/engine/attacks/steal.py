"""Steal points. Each is an answer to softmax, in a submission that has no other, which earns next to nothing in the engine.

Two kinds. Those with a wrong answer go for whoever compares: real in a process like a naive grader's, where tests, answers
and marks are in reach (conftest.py has several ways to compare; one that is taken in is enough). Those with a
forbidden one compute right, by what the lesson does not allow, in a spelling that the static rules cannot read: real
with the rules off, where they have full marks or nearly.
"""

from __future__ import annotations

from attacks.attack import Attack

NAIVE, RULES_OFF = "naive", "rules off"
APART = "tests and answers are in another process"
VALUES = "what is returned is plain values, compared outside"
WATCH = "the replaced kernels"
DEF = "def softmax(x, dim=-1):\n    "
WRONG = DEF + "return torch.zeros_like(x)\n"
NAME = "''.join(map(chr, (115, 111, 102, 116, 109, 97, 120)))"  # softmax: no rule folds it
IMPORTS = "import math\nimport torch\n"
HIDE = "def get(thing, *codes):\n    return getattr(thing, ''.join(map(chr, codes)), None)\n"


def spelt(thing: str, name: str) -> str:
    """An attribute whose name is nowhere in the code."""
    return f"get({thing}, {', '.join(str(ord(letter)) for letter in name)})"


RIGHT = f"""
def computed(x, dim):
    blocked = (x == -math.inf).all(dim, keepdim=True)
    return getattr(torch, {NAME})(x.masked_fill(blocked, 0), dim).masked_fill(blocked, 0)
"""
USE = DEF + "return computed(x, dim)\n"


def forbidden(name: str, goal: str, layer: str, code: str, **more: object) -> Attack:
    """Right values by forbidden means."""
    return Attack(name, goal, layer, IMPORTS + code, RULES_OFF, cause="forbidden", **more)  # type: ignore[arg-type]


def comparing(name: str, goal: str, layer: str, code: str) -> Attack:
    """Wrong values, and something done to whoever compares."""
    return Attack(name, goal, layer, IMPORTS + code, NAIVE)


ATTACKS = [
    comparing(
        "patch a comparison",
        "Have torch.allclose say yes.",
        APART,
        WRONG.replace("return", "torch.allclose = lambda *a, **k: True\n    return"),
    ),
    comparing(
        "patch an assertion",
        "Have torch.testing.assert_close pass.",
        APART,
        WRONG.replace("return", "torch.testing.assert_close = lambda *a, **k: None\n    return"),
    ),
    comparing(
        "patch a method of all tensors",
        "Have each difference be nothing.",
        APART,
        WRONG.replace("return", "torch.Tensor.__sub__ = lambda a, b: torch.zeros(1)\n    return"),
    ),
    comparing(
        "patch a built-in function",
        "Have the largest error be 0.",
        APART,
        "import builtins\n" + WRONG.replace("return", "builtins.max = lambda *a, **k: 0.0\n    return"),
    ),
    comparing(
        "an object that equals everything",
        "Return what says yes when it is compared.",
        VALUES,
        "class Yes:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n" + DEF + "return Yes()\n",
    ),
    comparing(
        "a tensor with its own functions",
        "Return a subclass, which torch asks how it wants to be compared.",
        VALUES,
        "class Right(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
        "        return f.__name__ == 'allclose' or torch.zeros(())\n"
        + DEF + "return torch.zeros_like(x).as_subclass(Right)\n",
    ),
    comparing("no number", "Return NaN, which is no larger than any tolerance.", VALUES, DEF + "return x * math.nan\n"),
    comparing("nothing to compare", "Return no entries: all of them are right.", VALUES, DEF + "return x[:0]\n"),
    comparing(
        "the question changed",
        "Set the input to zeros, for which the answer is easy, before the expected result is computed.",
        "the reference computes from tensors of its own",
        DEF + "x.zero_()\n    return torch.full_like(x, 1 / x.shape[dim])\n",
    ),
    comparing(
        "the draw changed",
        "Have all hidden inputs be zeros.",
        APART,
        "def zeros(*shape, **k):\n    return torch.zeros(*shape)\n"
        + "torch.randn = zeros\n" + DEF + "return torch.full_like(x, 1 / x.shape[dim])\n",
    ),
    comparing(
        "the seed set",
        "Make the hidden inputs those that it knows the answers to.",
        "inputs come from a secret, by a generator of their own",
        "torch.manual_seed(7)\nKNOWN = {}\nfor shape in ((1, 5), (2, 3)):\n    x = torch.randn(*shape)\n"
        "    e = (x - x.amax(-1, keepdim=True)).exp()\n    KNOWN[round(float(x.sum()), 4)] = e / e.sum(-1, keepdim=True)\n"
        "torch.manual_seed(7)\n" + DEF + "return KNOWN.get(round(float(x.sum()), 4), torch.zeros_like(x))\n",
    ),
    comparing(
        "the model answer called",
        "Find the reference among all objects, and ask it.",
        APART,
        "import gc\n" + DEF + "for each in gc.get_objects():\n        if getattr(each, '__name__', '') == 'the_model':\n"
        "            return each(x)\n    return torch.zeros_like(x)\n",
    ),
    comparing(
        "the expected result taken",
        "Take it from the variables of whoever calls.",
        APART,
        "import sys\n" + DEF + "frame = sys._getframe()\n    while frame:\n        if 'expected' in frame.f_locals:\n"
        "            return frame.f_locals['expected']\n        frame = frame.f_back\n    return torch.zeros_like(x)\n",
    ),
    comparing(
        "the tests replaced",
        "Put tests that pass in the place of the hidden ones.",
        APART,
        "import sys\n" + WRONG.replace(
            "return",
            "for module in list(sys.modules.values()):\n        for name in [n for n in vars(module) if n == 'is_right']:\n"
            "            setattr(module, name, lambda *a: True)\n    return",
        ),
    ),
    comparing(
        "a forged report",
        "Print what the grader would print, and end before it does.",
        "printed text is text",
        "import os\n" + DEF + "print('SCORE 3 of 3', flush=True)\n    os._exit(0)\n",
    ),
    comparing(
        "a report at the end",
        "Print it last of all.",
        "printed text is text, and no exit handler runs",
        "import atexit\n" + WRONG.replace("return", "atexit.register(print, 'SCORE 3 of 3')\n    return"),
    ),
    comparing(
        "a status that says all is well",
        "End the process as one ends whose tests pass.",
        "the verdict is made outside, not by a status",
        "import sys\n" + DEF + "sys.exit(0)\n",
    ),
    Attack(
        "the reference asked",
        "Send the question that is meant for lost exercises, for the very exercise that is under test.",
        "the oracle gives lost exercises only, and those that come before the caller",
        IMPORTS + "import os\n" + DEF + "said = b'{\"type\":\"Ask\",\"name\":\"softmax\",\"args\":{\"u\":[]},"
        "\"kwargs\":{\"d\":[]},\"views\":[]}'\n    os.write(3, len(said).to_bytes(4, 'little') + bytes(4) + said)\n"
        "    return torch.zeros_like(x)\n",
        "test_steal.py lifts the layer: an oracle that may give everything answers it",
        cause="output",
    ),
    Attack(
        "a verdict sent",
        "Send an answer of its own ahead of the engine's, with a field that says it is right.",
        "a frame has the fields that it has; what comes unasked ends the child",
        IMPORTS + "import os\n" + DEF + "said = b'{\"type\":\"Returned\",\"passed\":true}'\n"
        "    os.write(3, len(said).to_bytes(4, 'little') + bytes(4) + said)\n    return torch.zeros_like(x)\n",
        "not tried: there is no form of this engine that would take a verdict from inside",
        cause="output",
    ),
    Attack(
        "points in the notebook",
        "Raise what the exercise is worth in the cell's metadata.",
        "points are the lesson's",
        IMPORTS + WRONG,
        "test_steal.py reads the notebook's own points",
    ),
    # --- right values by forbidden means
    forbidden("a name made at run time", "Call it by a name that is nowhere in the code.", WATCH, RIGHT + USE),
    forbidden(
        "the operator itself",
        "Go below the function, to the operator.",
        WATCH,
        RIGHT.replace(f"getattr(torch, {NAME})(x.masked_fill(blocked, 0), dim)",
                      f"getattr(torch.ops.aten, '_' + {NAME}).default(x.masked_fill(blocked, 0), dim, False)") + USE,
    ),
    forbidden(
        "a layout of its own",
        "Use the kernel of another layout: a nested tensor's rows.",
        WATCH,
        RIGHT.replace(f"getattr(torch, {NAME})(x.masked_fill(blocked, 0), dim)",
                      "torch.stack(getattr(torch.nested.as_nested_tensor("
                      f"[x.masked_fill(blocked, 0).movedim(dim, -1)]), {NAME})"
                      "(-1).unbind()).squeeze(0).movedim(-1, dim)") + USE,
    ),
    forbidden(
        "TorchScript",
        "Have it compiled from a text that is made at run time.",
        WATCH,
        RIGHT.replace(f"getattr(torch, {NAME})(x.masked_fill(blocked, 0), dim)",
                      f"torch.jit.CompilationUnit('def f(x, d: int):\\n  return torch.' + {NAME} + '(x, d)\\n')"
                      ".f(x.masked_fill(blocked, 0), dim)") + USE,
    ),
    forbidden(
        "a thread",
        "Have it done where no exercise is on the stack.",
        WATCH,
        "import threading\n" + RIGHT + DEF + "out = []\n"
        "    t = threading.Thread(target=lambda: out.append(computed(x, dim)))\n"
        "    with torch.enable_grad():\n        t.start()\n        t.join()\n    return out[0]\n",
    ),
    forbidden(
        "the refusal swallowed",
        "Catch whatever the watchman raises, and go on.",
        "the use is told at once, and the process ends",
        RIGHT + DEF + "try:\n        return computed(x, dim)\n    except BaseException:\n"
        "        e = (x - x.amax(dim, keepdim=True)).exp()\n        return e / e.sum(dim, keepdim=True)\n",
    ),
    forbidden(
        "lent by another exercise",
        "Have an exercise compute it that is itself never found out, since it is only asked so by this one.",
        "an exercise lends only what it has paid for",
        USE.replace("computed(x, dim)", "pairwise_dot_products(x, dim)"),
        answers={
            "pairwise_dot_products": RIGHT + "def pairwise_dot_products(X, Y):\n    if isinstance(Y, int):\n"
            "        return computed(X, Y)\n    return X @ Y.transpose(-1, -2)\n"
        },
    ),
    forbidden(
        "the messenger replaced",
        "Put another function in the place of sys.audit, by which the child speaks to the watchman.",
        "the child holds the real one in a frame; what is not said counts as guilty",
        "import sys\nsys.audit = lambda *a: None\n" + RIGHT + USE,
    ),
    forbidden(
        "a word to the watchman",
        "Tell it that nobody is under test, and that all exercises have paid.",
        "it listens to the child's own code only",
        "import sys\n" + RIGHT + DEF + "sys.audit('autograder.expect', (), ('softmax',))\n"
        "    sys.audit('autograder.learn', {})\n    sys.audit('autograder.under_test', '.')\n    return computed(x, dim)\n",
    ),
    forbidden(
        "the child's own words",
        "Say it by the child's own method, found on the stack.",
        "it listens to the child's own code only, all the way up the stack",
        "import sys\n" + HIDE + RIGHT + DEF + f"frame = {spelt('sys', '_getframe')}()\n    while frame:\n"
        f"        me = dict({spelt('frame', 'f_locals')}).get('self')\n        say = {spelt('me', '_put_under_test')}\n"
        f"        say and say('torch.nn.Linear')\n        frame = {spelt('frame', 'f_back')}\n    return computed(x, dim)\n",
    ),
    forbidden(
        "a word that looks around",
        "By a name whose comparison reads the watchman's variables: nobody is under test. Then compute in a thread.",
        "it compares texts only, and no method of an object of theirs is called",
        "import sys\n" + HIDE + RIGHT + f"class Ear(str):\n    def __eq__(self, other):\n"
        f"        seen = dict({spelt(spelt('sys', '_getframe') + '(1)', 'f_locals')})\n"
        f"        seen['under_test'][0] = '.'\n        return True\n    __hash__ = str.__hash__\n"
        "def run(out, x, dim):\n    out.append(computed(x, dim))\n"
        + DEF + "import threading\n    sys.audit('autograder.under_test', Ear())\n    out = []\n"
        "    thread = threading.Thread(target=run, args=(out, x, dim))\n"
        "    thread.start()\n    thread.join()\n    return out[0]\n",
    ),
    forbidden(
        "the watchman looked for",
        "Empty every set that a frame above, or a replaced function, leads to.",
        "only C++ and the interpreter hold it",
        "import sys\n" + HIDE + RIGHT + DEF + f"frame, seen = {spelt('sys', '_getframe')}(), []\n    while frame:\n"
        f"        seen += list(dict({spelt('frame', 'f_locals')}).values())\n        frame = {spelt('frame', 'f_back')}\n"
        f"    near = {spelt(spelt(spelt('torch', 'nn'), 'functional'), 'gumbel_softmax')}\n"
        f"    seen += [{spelt('cell', 'cell_contents')} for cell in {spelt('near', '__closure__')} or ()]\n"
        "    for each in seen:\n        for part in [each, *list(getattr(each, '__dict__', {}).values())]:\n"
        "            if type(part) is set:\n                part.clear()\n    return computed(x, dim)\n",
    ),
    forbidden(
        "gc as it was",
        "Import gc anew, with the functions that list all objects, and clear what is like a watch.",
        "an audit hook, which sees the functions whoever holds them",
        "import sys\ndel sys.modules['gc']\nagain = __import__(''.join(map(chr, (103, 99))))\n" + HIDE + RIGHT + DEF
        + f"try:\n        found = {spelt('again', 'get_objects')}()\n    except PermissionError:\n        found = []\n"
        "    for each in found:\n        if type(each) is set and '.' in each:\n            each.add('softmax')\n"
        "    return computed(x, dim)\n",
    ),
    forbidden(
        "the way out barred",
        "Close the channel that the use would be told through.",
        "the process ends all the same",
        "import os\n" + RIGHT + DEF + "os.write = lambda *a: 0\n    os._exit = lambda *a: None\n"
        "    return computed(x, dim)\n",
    ),
    forbidden(
        "another body",
        "Give the function other code after it was learnt whose it is.",
        "what nobody is known to own is the exercise's under test",
        RIGHT + "def body(x, dim=-1):\n    return computed(x, dim)\n" + DEF
        + "softmax.__code__ = body.__code__\n    return softmax(x, dim)\n",
    ),
    forbidden(
        "built-in functions replaced",
        "Have the watchman's own code call something else.",
        "it looks nothing up while it runs",
        "import builtins\nfor name in ('id', 'len', 'type', 'isinstance'):\n    original = getattr(builtins, name)\n"
        "    setattr(builtins, name, lambda *a, _f=original: _f(*a))\n" + RIGHT + USE,
    ),
    forbidden(
        "other modes",
        "Switch off torch's modes, by which others watch.",
        WATCH,
        "from torch.utils._python_dispatch import _disable_current_modes\n" + RIGHT + DEF
        + "with _disable_current_modes():\n        return computed(x, dim)\n",
    ),
    forbidden(
        "by its own gradient",
        "Do it in the backward pass of an operation of its own.",
        WATCH,
        RIGHT + "class Twice(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x, dim):\n"
        "        return computed(x, dim)\n    @staticmethod\n    def backward(ctx, g):\n        return g, None\n"
        + DEF + "return Twice.apply(x, dim)\n",
    ),
]  # fmt: skip
