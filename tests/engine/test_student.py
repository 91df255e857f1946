"""`student` is like an ordinary module to a test: what goes in, what comes out, what a call leaves behind."""

import gc
import random

import pytest
import torch

from autograder.errors import StudentCrash, StudentError, StudentMissing, StudentTimeout
from autograder.outlines import Foreign

SOFTMAX = """
import torch
def softmax(x, dim=-1):
    e = torch.exp(x - x.amax(dim, keepdim=True).detach())
    return e / e.sum(dim, keepdim=True)
"""


@pytest.fixture
def f(student_of):
    """The exercise f with this body and the arguments (x, ...)."""

    def make(*lines):
        body = "".join(f"    {line}\n" for line in "\n".join(lines).splitlines())
        return student_of(f"import torch\nfrom torch import nn\ndef f(x=None, *args, **kwargs):\n{body}").f

    return make


# --- gradients


def test_gradcheck_is_unchanged(student_of):
    """torch's own gradcheck, in both modes, on a proxy."""
    student = student_of(SOFTMAX, "softmax")
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(student.softmax, (x,))
    assert torch.autograd.gradcheck(lambda x: student.softmax(x, dim=0), (x,), fast_mode=True)


def test_a_wrong_gradient_is_found(f):
    """A gradient that is one per cent off does not pass."""
    wrong = f("return x * 1.01 - x.detach() * 0.01")
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert not torch.autograd.gradcheck(wrong, (x,), raise_exception=False, fast_mode=True)


def test_gradients_reach_all_arguments(f):
    """Nested arguments, keywords, a tensor given twice, one that is not used, results that are cut off."""
    g = f("a, (b,) = args[0]['ab']\nreturn (x @ a * kwargs['s'] + b, [x.detach(), a.sum()])")
    x, a, b, s, unused = (torch.randn(2, 2, requires_grad=True) for _ in range(5))
    product, (cut, total) = g(x, {"ab": (a, [b])}, s=s, more=unused)
    assert (product.requires_grad, cut.requires_grad, total.requires_grad) == (True, False, True)
    got = torch.autograd.grad(product.sum() + 2 * total, (x, a, b, s, unused), allow_unused=True)
    wanted = torch.autograd.grad((x @ a * s + b).sum() + 2 * a.sum(), (x, a, b, s, unused), allow_unused=True)
    assert got[4] is None
    assert all(torch.allclose(mine, theirs) for mine, theirs in zip(got[:4], wanted[:4], strict=True))
    twice = torch.autograd.grad(f("return x * args[0]")(x, x).sum(), x)[0]
    assert torch.allclose(twice, 2 * x)


def test_gradients_can_be_asked_for_again_and_late(f):
    """retain_graph, several backwards, and one after other calls."""
    square, x = f("return x * x"), torch.tensor([3.0], requires_grad=True)
    y = square(x)
    for _ in range(3):
        square(x)
    assert torch.autograd.grad(y, x, retain_graph=True)[0].item() == 6
    y.backward()
    assert x.grad.item() == 6


def test_there_is_no_second_derivative(f):
    """A double backward is an error, not a silent zero."""
    x = torch.tensor([3.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(f("return x * x")(x), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient, x)


def test_backward_after_the_child_died(student_of):
    """The graph is gone with the process: an error that says so; the next call works."""
    student = student_of("import os\ndef f(x): return x * 2\ndef die(): os._exit(1)", "f", "die")
    x = torch.ones(2, requires_grad=True)
    y = student.f(x)
    with pytest.raises(StudentCrash):
        student.die()
    assert student.f(x).tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="gone"):
        y.sum().backward()


def test_graphs_that_nobody_needs_are_dropped(student_of):
    """The child keeps no graph longer than its result lives outside."""
    source = "KEPT = lambda: next(len(o.calls) for o in gc.get_objects() if type(o).__name__ == 'Child')"
    student = student_of(f"import gc\n{source}\ndef f(x): return x * 2\ndef count(): return KEPT()", "f", "count")
    x = torch.ones(2, requires_grad=True)
    kept = [student.f(x) for _ in range(5)]
    assert student.count() == 5
    del kept
    gc.collect()
    assert student.count() == 0


def test_an_error_in_backward_is_the_students(student_of):
    """What a student's own autograd.Function raises arrives as what it is."""
    student = student_of(
        """
        import torch
        class Bad(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x * 1
            @staticmethod
            def backward(ctx, g): raise ValueError("in backward")
        def f(x): return Bad.apply(x)
        """
    )
    x = torch.ones(2, requires_grad=True)
    y = student.f(x).sum()
    with pytest.raises(ValueError, match="in backward") as caught:
        y.backward()
    assert isinstance(caught.value.__cause__, StudentError)


# --- arguments, inside and afterwards


def test_arguments_look_the_same_inside(f):
    """Strides, offset, dtype, flags, .grad, aliasing, and which of two are one."""
    look = f(
        "rest = [x, *args]",
        "facts = [[list(t.stride()), t.storage_offset(), str(t.dtype), t.requires_grad, t.is_leaf] for t in rest]",
        "args[0].grad is None or facts.append(args[0].grad.tolist())",
        "return facts, [a is b for a in rest for b in rest], x.data_ptr() == args[1].data_ptr()",
    )
    base = torch.arange(12.0).reshape(3, 4)
    leaf = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (leaf * 3).sum().backward()
    given = [base.T, leaf, base, base[1:, ::2], torch.ones(1).expand(3, 2), base.T]
    given[5] = given[0]
    facts, one, shared = look(*given)
    outside = [[list(t.stride()), t.storage_offset(), str(t.dtype), t.requires_grad, t.is_leaf] for t in given]
    assert facts == [*outside, [3.0, 3.0]]
    assert one == [a is b for a in given for b in given]
    assert shared


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("x.add_(1)", lambda x: x.tolist()),
        ("x[0, 1] = 7", lambda x: x.tolist()),
        ("x.t_()", lambda x: (x.shape, x.stride())),
        ("x.resize_(3, 3); x.fill_(2)", lambda x: x.tolist()),
        ("x.requires_grad_()", lambda x: x.requires_grad),
        ("x.grad = torch.ones(2, 3)", lambda x: x.grad.tolist()),
        ("x.unsqueeze_(0).squeeze_(-1)", lambda x: (x.shape, x.stride())),
        ("x.data = torch.zeros(5)", lambda x: x.tolist()),
        ("x.set_(torch.ones(2).untyped_storage(), 0, (2,), (1,))", lambda x: x.tolist()),
        ("x.zero_().add_(float('nan'))", lambda x: x.isnan().all().item()),
    ],
)
def test_what_a_call_does_to_an_argument_is_seen(f, change, look):
    """In-place writes, new shapes, flags and gradients are there after the call, as with a plain function."""
    mine, theirs = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3)
    f(change)(mine)
    exec(change, {"x": theirs, "torch": torch})  # noqa: S102 - the test's own text
    assert look(mine) == look(theirs)


def test_a_write_through_a_view_is_seen_in_its_base(f):
    """Only the storage travels: what is written into a row shows in the matrix outside."""
    base = torch.zeros(3, 2)
    f("x.fill_(5)")(base[1])
    assert base.tolist() == [[0, 0], [5, 5], [0, 0]]


@pytest.mark.parametrize(
    "change",
    [
        "x[0].append(5)", "x[1].pop('b')", "x[1]['new'] = [x[0]]", "x[0].clear()", "x[1]['a'][0] = 'other'", "pass",
        "x[1]['a'] = x[1]['a'] + [1]", "del x[0][0]", "x[0][0], x[0][1] = x[0][1], x[0][0]", "x[2][0].append(None)",
    ],
)  # fmt: skip
def test_what_a_call_does_to_a_container_is_seen(f, change):
    """Lists and dicts among the arguments have the content that the call left, and are the same objects."""
    tensor = torch.ones(2)
    mine, theirs = ([[1, tensor, "c"], {"a": [tensor, 2.5], "b": None}, ([1],)] for _ in range(2))
    parts = list(mine)
    f(change)(mine)
    exec(change, {"x": theirs})  # noqa: S102 - the test's own text
    assert repr(mine) == repr(theirs)
    assert all(now is before for now, before in zip(mine, parts, strict=True))
    assert all(each is tensor for each in mine[0] if isinstance(each, torch.Tensor))


def test_a_storage_cannot_shrink_under_the_grader(f):
    """A tensor outside never looks beyond the end of its memory."""
    x = torch.ones(1000)
    with pytest.raises(StudentError) as caught:
        f("x.untyped_storage().resize_(8)")(x)
    assert caught.value.cause == "output"
    assert x.sum().item() == 1000


def test_a_result_may_be_an_argument(f):
    """Returned as it came, it is that argument; a view of it shares its memory's values."""
    x = torch.ones(2, 3)
    assert f("return x")(x) is x
    y, z = f("return x, x")(x)
    assert y is x
    assert z is x
    assert f("return x.T")(x).shape == (3, 2)
    same, other = f("y = x * 2\nreturn y, y[0]")(x)
    assert same.data_ptr() == other.data_ptr()


# --- global state


def test_state_goes_both_ways(f):
    """Default dtype and grad mode inside are those outside, and what a call leaves behind is left outside."""
    look = f("return str(torch.get_default_dtype()), torch.is_grad_enabled(), str(torch.get_default_device())")
    assert look() == ("torch.float32", True, "cpu")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            assert look() == ("torch.float64", False, "cpu")
            f("torch.set_default_dtype(torch.float16); torch.set_grad_enabled(True)")()
            assert torch.get_default_dtype() == torch.float16
            assert torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


def test_the_seed_is_the_one_outside(f):
    """The same seed gives the same numbers again; that numbers were drawn is seen in the generator outside."""
    draw = f("import random\nreturn torch.rand(2).tolist(), random.random()")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = draw()
    assert not torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert draw() == first
    torch.manual_seed(3)
    before = torch.get_rng_state()
    f("return torch.ones(2)")()
    assert torch.equal(torch.get_rng_state(), before)
    assert random.random() != first[1]  # noqa: S311 - Python's own generator outside is untouched


# --- results


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ("(i for i in ())", "generator"), ("torch.eye(2).to_sparse()", "sparse_coo tensor"), ("{1, 2}", "set"),
        ("torch.ones(2, device='meta')", "meta tensor"), ("lambda: 1", "function"),
        ("__import__('numpy').ones(2)", "ndarray"), ("type('Secret 3.14', (), {})()", "object"), ("object()", "object"),
        ("type('generator', (dict,), {'a': 1})", "type"),
        ("__import__('enum').Enum('E', 'a').a", "object"),
    ],
)  # fmt: skip
def test_what_cannot_leave_is_named_by_a_known_word(f, result, kind):
    """A class that a student named cannot spell anything."""
    assert f(f"return {result}")() == Foreign(kind)


def test_subclasses_arrive_as_what_they_are_made_of(f):
    """A named tuple is a tuple, a tensor of a class of one's own a tensor, numpy's number a number."""
    assert f("import collections\nreturn collections.namedtuple('N', 'a b')(1, 2)")() == (1, 2)
    assert f("import collections\nreturn collections.OrderedDict(a=1)")() == {"a": 1}
    got = f("class T(torch.Tensor): pass\nreturn torch.ones(2).as_subclass(T)")()
    assert type(got) is torch.Tensor
    assert type(f("return nn.Parameter(torch.ones(2))")()) is torch.Tensor
    assert f("import numpy\nreturn numpy.float64(1.5), numpy.int32(3)")() == (1.5, 3)
    assert f("class S(str):\n    __eq__ = lambda a, b: True\nreturn S('x')")() != "y"


def test_a_lying_equality_stays_inside(f):
    """An object that is equal to everything is only named."""
    lie = f("class Lie:\n    __eq__ = __lt__ = __gt__ = lambda a, b: True\nreturn Lie()")()
    assert lie == Foreign("object")
    assert lie != 1


# --- errors


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("ValueError('x')", ValueError), ("KeyError('x')", KeyError), ("ZeroDivisionError()", ZeroDivisionError),
        ("NotImplementedError", NotImplementedError), ("StopIteration('x')", StopIteration),
        ("AssertionError", AssertionError),
        ("UnicodeDecodeError('a', b'b', 0, 1, 'c')", RuntimeError), ("SystemExit(0)", RuntimeError),
        ("KeyboardInterrupt", RuntimeError), ("GeneratorExit", RuntimeError), ("BaseException", RuntimeError),
        ("type('V3141592', (ValueError,), {})('x')", ValueError), ("type('B', (BaseException,), {})()", RuntimeError),
        ("ExceptionGroup('x', [ValueError()])", RuntimeError), ("type('ValueError', (Exception,), {})()", Exception),
        ("type('E', (Exception,), {'__module__': 'builtins'})('x')", RuntimeError),
    ],
)  # fmt: skip
def test_errors_arrive_as_built_in_ones(f, raised, kind):
    """By the nearest built-in type; what would end pytest is a RuntimeError. A student's own name never arrives."""
    with pytest.raises(kind) as caught:
        f(f"raise {raised}")()
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, StudentError)
    assert caught.value.__cause__.kind == kind.__name__
    assert f("return 1")() == 1


def test_an_error_knows_the_students_line(student_of):
    """The innermost line of the student's own cells; never a line of a library, nor one that is not there."""
    student = student_of("import torch\n\ndef f(x):\n    y = x\n    return torch.mm(y, y)\n")
    with pytest.raises(RuntimeError) as caught:
        student.f(torch.ones(3))
    (line,) = caught.value.__cause__.lines
    assert (line.cell, line.line, line.text) == (1, 5, "return torch.mm(y, y)")
    student = student_of("def f(): exec(compile('\\n' * 98 + 'raise ValueError', '<cell 1>', 'exec'))")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it has no text
        student.f()
    assert [line.line for line in caught.value.__cause__.lines] == [1]


def test_texts_are_cut_and_hold_no_addresses(f):
    """2,000 characters; an address would be another one in each run."""
    with pytest.raises(ValueError, match="x") as caught:
        f("raise ValueError('x' * 10**6)")()
    assert len(str(caught.value)) == 2000
    with pytest.raises(ValueError, match="0x…"):
        f("raise ValueError(repr(object()))")()
    with pytest.raises(ValueError, match="could not be had"):
        f("class E(ValueError):\n    def __str__(self): raise KeyboardInterrupt\nraise E()")()


def test_only_exercises_are_attributes(student_of):
    """A name that the lesson does not have is an AttributeError, as with a module."""
    student = student_of("def f(): return 1\nhelper = 2")
    for name in ("helper", "_session_", "g", "__wrapped__"):
        with pytest.raises(AttributeError):
            getattr(student, name)
    with pytest.raises(StudentMissing):
        student_of("f = 3", reference={"f": len}).f()


# --- modules

MODULES = """
import os, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, n=2):
        super().__init__()
        self.a = nn.Linear(n, n, bias=False)
        self.b = nn.Linear(n, n)
        self.register_buffer("scale", torch.ones(n))
    def forward(self, x):
        return self.b(self.a(x)) * self.scale

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
    def forward(self, x):
        return self.b(self.a(x)) + self.training

def fill(net, value):
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(value)
    net.eval()

def die(): os._exit(1)
def hang():
    while True: pass
"""


@pytest.fixture
def modules(student_of):
    return student_of(MODULES, "Net", "Tied", "fill", "die", "hang")


def test_a_handle_is_trained_outside(modules):
    """An optimiser of the test's own moves the parameters, with gradients through the box."""
    net, x = modules.Net(2), torch.tensor([[1.0, -2.0]])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    before = net(x).square().mean().item()
    for _ in range(5):
        optimiser.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimiser.step()
    assert net(x).square().mean().item() < before
    assert [name for name, _ in net.named_parameters()] == ["a.weight", "b.weight", "b.bias"]
    assert list(net.state_dict()) == ["scale", "a.weight", "b.weight", "b.bias"]


def test_a_handle_has_what_tests_use(modules):
    """Modes, casts, freezing, attributes, state dicts with the errors that nn.Module gives."""
    net = modules.Net(2)
    assert net.training
    assert not net.eval().training
    assert net.train().double()(torch.ones(1, 2, dtype=torch.float64)).dtype == torch.float64
    assert net.a.weight.shape == (2, 2)
    assert net.a.bias is None
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())
    net.load_state_dict({name: torch.ones_like(tensor) for name, tensor in net.state_dict().items()})
    assert net.float()(torch.ones(1, 2)).tolist() == [[5.0, 5.0]] if hasattr(net, "float") else True
    with pytest.raises(RuntimeError, match="missing"):
        net.load_state_dict({})
    with pytest.raises(RuntimeError, match="size"):
        net.load_state_dict({**net.state_dict(), "scale": torch.ones(3)})
    with pytest.raises(AttributeError):
        _ = net.c


def test_what_an_exercise_does_to_a_module_is_seen(modules):
    """Values written and a mode set inside show outside; the parameters stay the objects they were."""
    net = modules.Net(2)
    before = list(net.parameters())
    modules.fill(net, 3.0)
    assert all(bool((p == 3).all()) for p in net.parameters())
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert not net.training


def test_shared_parameters_are_one(modules):
    """A weight that two layers share is one parameter, with one gradient."""
    tied = modules.Tied()
    assert len(list(tied.parameters())) == 1
    assert set(tied.state_dict()) == {"a.weight", "b.weight"}
    tied(torch.ones(1, 2)).sum().backward()
    assert tied.a.weight.grad.abs().sum() > 0


def test_handles_outlive_a_crash(modules):
    """A module is made again in the next child, with the values that it had outside, whatever its number is there."""
    first, second = modules.Net(2), modules.Tied()
    x = torch.ones(1, 2)
    wanted, other = first(x), second.eval()(x)
    with pytest.raises(StudentCrash):
        modules.die()
    assert torch.equal(second(x), other)
    assert torch.equal(first(x), wanted)
    third = modules.Net(3)
    with pytest.raises(StudentCrash):
        modules.die()
    assert third(torch.ones(1, 3)).shape == (1, 3)
    modules.fill(second, 0.0)
    assert second(x).tolist() == [[0.0, 0.0]]


def test_a_built_in_module_can_be_made_inside(modules):
    """Of the kinds on the list; others are refused inside."""
    linear = modules.builtin("Linear", 2, 3)
    assert linear(torch.ones(1, 2)).shape == (1, 3)
    with pytest.raises(KeyError):
        modules.builtin("Bilinear", 2, 2, 2)


def test_a_module_that_hangs_is_waited_for_twice(student_of, sandbox, monkeypatch):
    """Time-outs count for the class, not for the module: a new one gets no new patience."""
    monkeypatch.setattr(sandbox, "limits", type(sandbox.limits)(call_s=0.4))
    student = student_of(
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        while True: pass", "Net"
    )
    for _ in range(2):
        with pytest.raises(StudentTimeout):
            student.Net()(1)
    with pytest.raises(StudentTimeout) as caught:
        student.Net()
    assert "not waited for" in caught.value.text
