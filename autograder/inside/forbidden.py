"""Forbidden operators at run time: their kernels, replaced in torch's dispatcher before the fork.

Static rules read code; a spelling they cannot follow still ends in the dispatcher. There each kernel of a forbidden
operator is replaced by one that asks the watchman, who walks the Python stack to the innermost exercise:

    no call is being answered yet               it computes
    the rules do not bind who is under test     it computes
    that exercise was found out before          it computes: who calls it pays for nothing but their own
    else                                        the grader is told over the socket, and the process ends

So there is nothing to swallow, to clear or to take back. A gradient's own kernels, which autograd runs for whoever is
differentiated, refuse only those who call them by hand. A few ready-made functions are made of allowed kernels in
Python; they are replaced in the same way.

What the watchman knows is in the closures of functions that only C++ and the interpreter hold: the kernels, and an audit
hook, which nobody can take away. No name, frame or object of the child's leads there. The child speaks to it by audit
events, which count only where nobody but the child's own code is on the stack. The hook also denies what lists, traces
or reaches past Python's objects. Not held: reading and writing raw memory, for which numpy and torch have ways enough.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

_NAMESPACES = ("aten", "quantized")
_BACKENDS = (
    *("CPU", "CUDA", "SparseCPU", "SparseCsrCPU", "QuantizedCPU", "Meta"),
    *("NestedTensorCPU", "NestedTensorCUDA"),
)
_COMPOSITES = {  # how an operator that is made of others is registered -> where a kernel in its place must stand
    "CompositeImplicitAutograd": ("CPU", "CUDA", "AutogradCPU", "AutogradCUDA"),
    "CompositeExplicitAutograd": ("CPU", "CUDA"),
    "CompositeExplicitAutogradNonFunctional": ("CPU", "CUDA"),
}
_PYTHON = {  # ready-made functions that are made of allowed kernels: family -> where they are
    "multi_head_attention": ("torch.nn.functional:multi_head_attention_forward",),
    "multihead_attention": ("torch.nn:MultiheadAttention.forward",),
    "transformer": ("torch.nn:TransformerEncoderLayer.forward", "torch.nn:TransformerDecoderLayer.forward"),
    "softmax": ("torch.nn.functional:gumbel_softmax",),
}
_SOCKET = 3  # the child's descriptor towards the grader (child.py)
EXPECT = "autograder.expect"  # exercises, those that were found out before: said before student code runs
LEARN = "autograder.learn"  # what the exercises are bound to; from now on the use of an operator counts
UNDER_TEST = "autograder.under_test"  # who answers the next call, where the stack does not say
NOBODY = "."  # under test: a call of what is no exercise
_FUNCTION = "autograder.function"  # may this ready-made function be called?
_DENIED = frozenset(  # audit events of what lists, traces or reaches past Python's objects
    (
        "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.settrace", "sys.setprofile", "sys._current_frames",
        "sys._current_exceptions", "sys.monitoring.register_callback", "ctypes.dlopen", "ctypes.dlsym",
        "ctypes.dlsym/handle", "ctypes.call_function", "ctypes.cdata", "ctypes.cdata/buffer", "ctypes.PyObj_FromPtr",
        "ctypes.string_at",
        "ctypes.wstring_at", "ctypes.addressof",
    )
)  # fmt: skip

Check = Callable[[str, bool], None]


# --- before the fork


def seal() -> None:
    """Takes from a child the module that calls C by name; what it is made of, the hook denies."""
    vars(ctypes).clear()


def install(families: list[str], judged: Iterable[str], trusted: Iterable[types.CodeType]) -> None:
    """Replaces the kernels of all operators whose name holds one of `families`, once and for all children.

    `judged` are the exercises that the rules bind, `trusted` the code that may speak to the watchman.
    """
    if not families:
        return
    functions: dict[str, Callable[..., Any]] = {}
    frame: types.FrameType | None = sys._getframe(1)
    speakers = set(trusted)
    while frame is not None:
        speakers.add(frame.f_code)
        frame = frame.f_back
    check, hook = _watchman(frozenset(judged), {id(code): code for code in speakers}, functions)
    names = [name for name in torch._C._dispatch_get_all_op_names() if _is_of(name, families)]
    places = sorted({(key, *name.split("::")) for name in names for key in _keys_of(name)})
    for (key, namespace), group in itertools.groupby(places, key=lambda place: place[:2]):
        _replace([operator for _, _, operator in group], namespace, key, check)
    for place in (place for family in families for place in _PYTHON.get(family, ())):
        functions[place] = _replace_function(place)
    sys.addaudithook(hook)


def code_in(module: types.ModuleType) -> Iterator[types.CodeType]:
    """The code of a module's functions and methods."""
    for value in vars(module).values():
        members = vars(value).values() if isinstance(value, type) and value.__module__ == module.__name__ else (value,)
        yield from (each.__code__ for each in members if isinstance(each, types.FunctionType))


def _is_of(name: str, families: list[str]) -> bool:
    namespace, _, operator = name.partition("::")
    return namespace in _NAMESPACES and any(family in operator for family in families)


def _keys_of(name: str) -> set[str]:
    """The dispatch keys at which calls of an operator can be met."""
    keys = {key for key in _BACKENDS if torch._C._dispatch_has_kernel_for_dispatch_key(name, key)}
    for composite, places in _COMPOSITES.items():
        if torch._C._dispatch_has_kernel_for_dispatch_key(name, composite):
            keys |= {key for key in places if torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, key)}
    return keys


def _replace(operators: list[str], namespace: str, key: str, check: Check) -> None:
    library: Any = torch._C._dispatch_library("IMPL", namespace, key, __file__, 1)
    kernels = [(operator, _kernel(f"{namespace}::{operator}", key, check)) for operator in operators]
    for operator, kernel in kernels:
        library.impl(operator, key, kernel, False)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))  # never freed, and no name leads to it


def _kernel(name: str, key: str, check: Check) -> Callable[..., Any]:
    original: Any = torch.library.get_kernel(name, key)
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    operator, is_gradient = name.partition("::")[2].partition(".")[0].strip("_"), "backward" in name

    def kernel(*args: Any, **kwargs: Any) -> Any:
        check(operator, is_gradient)
        return original.call_boxed(keys, *args, **kwargs)

    return kernel


def _replace_function(place: str) -> Callable[..., Any]:
    """Puts a function that asks in place of a ready-made one, which is returned."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *folders, name = path.split(".")
    for folder in folders:
        owner = getattr(owner, folder)
    original: Callable[..., Any] = getattr(owner, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        allowed: list[Callable[..., Any]] = []
        sys.audit(_FUNCTION, place, allowed)
        return allowed.pop()(*args, **kwargs)

    function.__name__ = name
    setattr(owner, name, function)
    return original


# --- the watchman


def _watchman(  # noqa: C901 - one function: only what is in closures is out of a student's reach
    judged: frozenset[str], speakers: dict[int, types.CodeType], functions: dict[str, Callable[..., Any]]
) -> tuple[Check, Callable[[str, tuple[Any, ...]], None]]:
    """The check that kernels make, and the audit hook.

    Nothing that a student can rebind is looked up here at run time, and no method of an object of theirs is called: both
    would run their code above a frame that sees these variables.
    """
    frame_of, name_of, this_thread = sys._getframe, id, torch._C._current_autograd_node
    kind_of, is_subclass, text, size = type, issubclass, str, len
    write, leave, pause, resume, is_running = os.write, os._exit, gc.disable, gc.enable, gc.isenabled
    function_type, method_type, code_type, class_type = types.FunctionType, types.MethodType, types.CodeType, type
    static, class_method, partial, no_content = staticmethod, classmethod, functools.partial, ValueError
    members, bases = type.__dict__["__dict__"].__get__, type.__dict__["__mro__"].__get__
    denied, events, refusal = _DENIED, frozenset((EXPECT, LEARN, UNDER_TEST, _FUNCTION)), PermissionError
    expect_event, learn_event, function_event, turn_event = EXPECT, LEARN, _FUNCTION, UNDER_TEST
    socket_, bytes_, list_type = _SOCKET, bytes, list
    owners: dict[int, str] = {}
    known: list[types.CodeType] = []  # so that no other code gets the identity of one
    paid: set[str] = set()
    expected: list[str] = []
    free = {NOBODY}  # exercises that the rules do not bind
    under_test, is_closed = [""], [False, False]  # closed: to what is expected, to what is learnt

    def check(operator: str, is_gradient: bool) -> None:
        if not is_closed[1] or (is_gradient and this_thread() is not None):
            return
        was_running = is_running()
        pause()  # what is collected may have a finaliser, and that a student's code
        frame: types.FrameType | None = frame_of(1)
        inner, outer, lines = "", "", []
        while frame is not None:
            code = frame.f_code
            if name := owners.get(name_of(code), ""):
                inner, outer = inner or name, name
            place = code.co_filename
            if kind_of(place) is text and place[:6] == "<cell " and place[6:-1].isdigit():
                lines.append(f"[{place[6:-1]},{frame.f_lineno}]")
            frame = frame.f_back
        outer = outer or under_test[0]
        if outer not in free and (inner or outer) not in paid:
            told = '{"type":"Raised","kind":"RuntimeError","text":"","lines":[' + ",".join(lines[19::-1])
            header = (told + '],"forbidden":"' + operator + '"}').encode()
            write(socket_, size(header).to_bytes(4, "little") + bytes_(4) + header)
            leave(0)
        if was_running:
            resume()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_closed[0] and event in denied:
            raise refusal("listing, tracing and reaching past objects is not allowed here")
        if event not in events or (event == turn_event and is_as_before(arguments)):
            return
        if event == function_event:
            place, box = arguments
            if kind_of(place) is text and kind_of(box) is list_type and place in functions:
                check(place.partition(":")[2].removesuffix(".forward"), False)
                box.append(functions[place])
        elif speaks_for_child():
            take(event, arguments)

    def is_as_before(arguments: tuple[Any, ...]) -> bool:
        """Is this exercise under test already? Most calls follow one of the same, and need not show who speaks."""
        return size(arguments) == 1 and kind_of(arguments[0]) is text and arguments[0] == under_test[0]

    def speaks_for_child() -> bool:
        frame: types.FrameType | None = frame_of(2)
        while frame is not None:
            if name_of(frame.f_code) not in speakers:
                return False
            frame = frame.f_back
        return True

    def take(event: str, arguments: tuple[Any, ...]) -> None:
        if event == expect_event and not is_closed[0]:
            expected.extend(arguments[0])
            free.update(name for name in expected if name not in judged)
            paid.update(arguments[1])
            is_closed[0] = True
        elif event == learn_event and not is_closed[1]:
            for name in expected:
                if name in arguments[0]:
                    own(name, arguments[0][name], 6)
            is_closed[1] = True
        elif event not in (expect_event, learn_event):
            under_test[0] = arguments[0]

    def own(name: str, value: Any, depth: int) -> None:
        kind = kind_of(value)
        if kind is code_type:
            if name_of(value) not in owners:
                owners[name_of(value)] = name
                known.append(value)
                for constant in value.co_consts:
                    if kind_of(constant) is code_type:
                        own(name, constant, 0)
        elif depth:
            for part in parts(value, kind):
                own(name, part, depth - 1)

    def parts(value: Any, kind: type) -> list[Any]:
        """What a callable calls in its turn, as far as it can be seen."""
        if kind is partial:
            return [value.func]
        if kind is method_type or kind is static or kind is class_method:
            return [value.__func__]
        if kind is function_type:
            return [value.__code__, *contents(value.__closure__ or ())]
        if is_subclass(kind, class_type):
            return [each for each in members(value).values() if is_method(kind_of(each))]
        return [members(base)["__call__"] for base in bases(kind) if "__call__" in members(base)][:1]

    def is_method(kind: type) -> bool:
        return kind is function_type or kind is static or kind is class_method

    def contents(cells: tuple[types.CellType, ...]) -> list[Any]:
        found = []
        for cell in cells:
            try:
                held = cell.cell_contents
            except no_content:  # a variable that was never given a value
                continue
            if kind_of(held) is function_type:
                found.append(held)
        return found

    return check, hook
