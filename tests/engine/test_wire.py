"""The protocol: what is packed arrives as it was, and what is no message is refused, never obeyed."""

import json
import math
import random
import struct
import time
import tracemalloc

import pytest
import torch
from safetensors import deserialize
from safetensors.torch import save

from autograder.inside import messages, packing, wire
from autograder.inside.messages import ProtocolError, View

LIMIT = 1 << 20


def foreign(kind):
    return ("foreign", kind)


def no_module(number):
    raise KeyError(number)


def across(value):
    """A value as it arrives on the other side."""
    packer = packing.Packer()
    tree = json.loads(json.dumps(packer.value(value)))
    data = packer.frame(messages.Returned(0, tree, packer.views, [], messages.State()))
    message, pieces = parted(data)
    return packing.unpack(message.value, packing.build(message.views, pieces, LIMIT)[0], no_module, foreign)


def parted(data, read=wire.read_outside):
    """A frame's message and its storages' bytes."""
    n_header, n_body = wire.LENGTHS.unpack(data[: wire.LENGTHS.size])
    header, body = data[wire.LENGTHS.size :][:n_header], data[wire.LENGTHS.size + n_header :]
    assert len(body) == n_body
    return read(header), wire.pieces_of(body)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**53 - 1, 2**53, -(2**200), 0.1, -0.0, 1e308, math.inf, -math.inf, 1 + 2j,
        complex(math.inf, -1.5), "", "text with \0, \u202e and 漢字", (), [], {}, (1, [2.5, (None, "x")]), [[[[[]]]]],
        {"a": 1, 2: "b", (1, 2): [3], None: {}}, [{"W_Q": (1,), "nested": {"x": [True]}}],
    ],
)  # fmt: skip
def test_plain_values_arrive_as_they_were(value):
    """Numbers of any size, containers of any kind, keys that are no strings."""
    arrived = across(value)
    assert arrived == value
    assert type(arrived) is type(value)


def test_nan_arrives():
    """JSON has no NaN."""
    assert math.isnan(across([math.nan])[0])


@pytest.mark.parametrize("dtype", packing.DTYPES.values(), ids=str)
@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (3,), (2, 0, 4), (2, 3), (1, 1, 2, 2)], ids=lambda shape: "x".join(map(str, shape))
)
def test_every_dtype_and_shape_arrives(dtype, shape):
    """To the bit, zero sizes included."""
    tensor = torch.randint(0, 2, shape).to(dtype)
    arrived = across(tensor)
    assert arrived.dtype == dtype
    assert torch.equal(arrived, tensor)
    assert arrived.stride() == tensor.stride()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T, lambda x: x[:, ::2], lambda x: x[1:, 1:], lambda x: x.expand(5, 4, 6), lambda x: x[:0],
        lambda x: x[:1].expand(4, 6), lambda x: x.as_strided((3, 3), (1, 1), 2), lambda x: x.diagonal(),
        lambda x: x.view(torch.int32), lambda x: x.conj(), lambda x: torch.complex(x, x).conj(),
    ],
)  # fmt: skip
def test_views_arrive_with_their_strides(view):
    """Strides, offsets and expanded dimensions are part of a tensor."""
    tensor = view(torch.arange(24, dtype=torch.float32).reshape(4, 6))
    arrived = across(tensor)
    assert torch.equal(arrived, tensor)
    assert arrived.stride() == tensor.stride()
    assert arrived.storage_offset() == tensor.storage_offset()


def test_what_is_one_thing_stays_one_thing():
    """A tensor that occurs twice is one tensor; two views of one storage still share it."""
    x = torch.zeros(2, 3)
    first, again, row = across((x, [x], x[1]))
    assert again[0] is first
    row.fill_(7)
    assert first[1].tolist() == [7, 7, 7]


def test_special_bits_arrive():
    """NaN payloads, signed zeros, infinities and the smallest numbers keep their bits."""
    bits = torch.tensor([0x7FC00001, -0x80000000, 0x7F800000, 1, 0x00800000], dtype=torch.int32)
    assert torch.equal(across(bits.view(torch.float32)).view(torch.int32), bits)


def test_a_grad_and_its_flag_travel_as_facts():
    """`requires_grad` and `.grad` are said in the view, with the gradient as a tensor of the message."""
    x = torch.ones(2, requires_grad=True)
    (3 * x).sum().backward()
    packer = packing.Packer()
    packer.value(x)
    assert packer.views[0].requires_grad
    assert packer.views[packer.views[0].grad].shape == [2]


def nested(depth):
    value = "end"
    for _ in range(depth):
        value = [value]
    return value


class Odd:
    """Nothing that can travel."""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Odd(), "Odd"), (iter([]), "list_iterator"), ((i for i in ()), "generator"), (nested, "function"),
        (torch.empty(2, device="meta"), "meta tensor"), (torch.eye(2).to_sparse(), "sparse_coo tensor"),
        (10**400, "huge int"), (b"bytes", "bytes"), ({1, 2}, "set"),
    ],
)  # fmt: skip
def test_what_cannot_travel_is_named_by_its_type(value, name):
    """A generator, a set, a tensor without plain memory: their name, not their content."""
    assert across(value) == ("foreign", name)


def test_depth_has_an_end():
    """A list that holds itself ends somewhere."""
    value = []
    value.append(value)
    assert "foreign" in str(across(value))
    assert across(nested(30)) == nested(30)


# --- what is no message


@pytest.mark.parametrize(
    "tree",
    [
        {}, {"t": 0, "u": []}, {"t": 5}, {"t": -1}, {"t": True}, {"t": "0"}, {"t": None}, {"q": 1}, {"u": 3}, {"u": ""},
        {"d": 1}, {"d": [[1]]}, {"d": [[[], 1]]}, {"d": [[{"d": []}, 1]]}, {"f": "1e999"}, {"f": []}, {"f": None},
        {"i": 12}, {"i": "x"}, {"i": "9" * 400}, {"c": [1]}, {"c": [1, 2, 3]}, {"c": ["a", "b"]}, {"c": [{"t": 0}, 1]},
        {"m": 1.0}, {"m": True}, {"m": [1]}, {"m": "0"}, {"x": 1}, {"x": []}, nested(2000), nested(40),
        {"u": [{"d": [[1, {"c": [None, 1]}]]}]},
    ],
)  # fmt: skip
def test_a_tree_that_is_no_value_is_refused(tree):
    """Every kind with content that it does not have, and depth without end."""
    with pytest.raises(ProtocolError):
        packing.unpack(tree, [torch.zeros(2, 2)], no_module, foreign)


GOOD = {"storage": 0, "dtype": "float32", "shape": [2, 2], "stride": [2, 1], "offset": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"storage": 1}, {"storage": -1}, {"dtype": "float3"}, {"dtype": "qint8"}, {"shape": [2]}, {"stride": [1, 1, 1]},
        {"shape": [2, -2]}, {"stride": [-2, 1]}, {"offset": -1}, {"offset": 1}, {"shape": [2, 3]}, {"dtype": "float64"},
        {"stride": [3, 1]}, {"shape": [1 << 40, 1 << 40], "stride": [0, 0]}, {"shape": [1 << 20, 2], "stride": [0, 0]},
        {"shape": [1 << 63, 1 << 63], "stride": [1 << 63, 1 << 63]}, {"offset": 1 << 62}, {"shape": [0, 1 << 62]},
        {"shape": [0, 1], "stride": [1 << 62, 1]}, {"shape": [1] * 65, "stride": [1] * 65}, {"device": "meta"},
        {"device": "cuda:99"}, {"device": "cuda"}, {"device": "xla:0"}, {"device": ""}, {"device": "cpu:0"},
        {"device": "\0"},
    ],
    ids=str,
)  # fmt: skip
def test_a_view_that_cannot_be_is_refused(change):
    """Beyond its storage, negative, overflowing, expanded to terabytes, on a device that is not here."""
    assert packing.build([View(**GOOD)], [bytes(16)], LIMIT)[0][0].shape == (2, 2)
    with pytest.raises(ProtocolError):
        packing.build([View(**{**GOOD, **change})], [bytes(16)], LIMIT)


def test_many_views_together_are_limited():
    """Each tensor may expand to the limit, but not all of them."""
    big = View(**{**GOOD, "shape": [LIMIT // 8, 1], "stride": [0, 0]})
    assert len(packing.build([big, big], [bytes(16)], LIMIT)[0]) == 2
    with pytest.raises(ProtocolError, match="together"):
        packing.build([big] * 1000, [bytes(16)], LIMIT)
    with pytest.raises(ProtocolError, match="too many"):
        packing.build([View(**GOOD)] * (messages.MAX_TENSORS + 1), [bytes(16)], LIMIT)


def test_a_truth_value_is_zero_or_one():
    """A byte of 2 in a boolean tensor could be both true and false."""
    pieces = [bytes([0, 1, 2])]
    shape = {"dtype": "bool", "stride": [1]}
    assert packing.build([View(**{**GOOD, **shape, "shape": [2]})], pieces, LIMIT)[0][0].tolist() == [False, True]
    with pytest.raises(ProtocolError, match="truth"):
        packing.build([View(**{**GOOD, **shape, "shape": [3]})], pieces, LIMIT)


@pytest.mark.parametrize(
    ("dtype", "place", "possible"),
    [
        ("float32", "cpu", True), ("bfloat16", "cpu", True), ("int64", "cpu", False), ("bool", "cpu", False),
        ("", "cpu", False), ("float32", "meta", False), ("float32", "cuda:77", False),
    ],
)  # fmt: skip
def test_a_state_is_one_that_torch_can_have(dtype, place, possible):
    """A reply cannot make an integer type the default, or move the grader to another device."""
    assert packing.is_state(messages.State(dtype=dtype, device=place)) is possible


SAFE = save({"0": torch.zeros(3, dtype=torch.uint8), "1": torch.ones(2, dtype=torch.uint8)})


@pytest.mark.parametrize(
    "body",
    [
        b"x", b"\0" * 8, b"\xff" * 40, SAFE[:-1], SAFE + b"\0", SAFE[8:], SAFE[:8] + b"{" * 200,
        save({"a": torch.zeros(1)}), save({"0": torch.zeros(1), "2": torch.zeros(1)}),
        struct.pack("<Q", 1 << 62) + SAFE[8:], struct.pack("<Q", messages.MAX_INDEX + 1) + b" " * (messages.MAX_INDEX + 1),
        struct.pack("<Q", 61) + b'{"0":{"dtype":"U8","shape":[99],"data_offsets":[0,99999999]}}',
        struct.pack("<Q", 78) + b'{"0":{"dtype":"U8","shape":[18446744073709551615,2],"data_offsets":[0,0]}}    ',
    ],
    ids=range(13),
)  # fmt: skip
def test_a_body_that_is_no_safetensors_is_refused(body):
    """Cut, lengthened, lying about its lengths, with other names, with an index of megabytes."""
    with pytest.raises(ProtocolError):
        wire.pieces_of(body)


def library_pieces(body):
    """What the library reads: the reference for what is in a body."""
    found = dict(deserialize(body))
    assert all(entry["dtype"] == "U8" and len(entry["shape"]) == 1 for entry in found.values())
    return [bytes(found[str(number)]["data"]) for number in range(len(found))]


@pytest.mark.parametrize("sizes", [(0,), (1,), (0, 0), (3, 0, 5), (8, 1, 16), tuple(range(25))], ids=str)
def test_a_body_is_read_as_the_library_reads_it(sizes):
    """Empty storages and more than ten of them included: the library puts 10 before 2."""
    pieces = [bytes(range(number, number + size)) for number, size in enumerate(sizes)]
    body = save({str(number): torch.tensor(list(piece), dtype=torch.uint8) for number, piece in enumerate(pieces)})
    assert wire.pieces_of(body) == library_pieces(body) == pieces
    assert wire.body_of([torch.tensor(list(piece), dtype=torch.uint8).untyped_storage() for piece in pieces]) == body


def test_a_body_that_the_library_refuses_is_refused():
    """A seeded storm of damaged bodies: what is read here is what the library reads there."""
    rng, read, refused = random.Random(7), 0, 0  # noqa: S311 - a seeded storm, no secret
    body = save({str(number): torch.arange(number, dtype=torch.uint8) for number in range(12)})
    for _ in range(3000):
        damaged = broken(rng, wire.LENGTHS.pack(0, 0) + body)[1]
        try:
            pieces = wire.pieces_of(damaged)
        except ProtocolError:
            refused += 1
            continue
        read += bool(damaged)
        assert not damaged or pieces == library_pieces(damaged)
    assert read > 100
    assert refused > 1000


@pytest.mark.parametrize(
    "header",
    [
        b"", b"{", b"[]", b"null", b"1", b'"Returned"', b"{}",
        b'{"type":"Load","statements":[],"exercises":[],"lost":[]}',
        b'{"type":"Evaluate","code":"1"}', b'{"type":"Ran","kind":1}', b'{"type":"Ran","other":1}', b'{"type":"Ran"}x',
        b'{"type":"Loaded"}', b'{"type":"Gradients","tensors":[1.5],"views":[]}', b"[" * 100_000,
        b'{"type":"Ran","kind":"\xff"}',
        b'{"type":"Gradients","tensors":[99999999999999999999999999999999],"views":[]}',
    ],
    ids=lambda header: header[:24].decode(errors="replace"),
)  # fmt: skip
def test_a_header_that_is_no_message_is_refused(header):
    """Another direction's message, unknown fields, wrong types, numbers beyond 64 bits, depth without end."""
    with pytest.raises(ProtocolError):
        wire.read_outside(header)


STATE = '["float32",true,"cpu",0,false]'


def returned(**fields):
    """The header of an answer that says nothing, with these fields as JSON."""
    fields = {"call": "0", "value": "1", "views": "[]", "same": "[]", "state": STATE, **fields}
    return f'{{"type":"Returned",{",".join(f"{chr(34)}{name}{chr(34)}:{text}" for name, text in fields.items())}}}'.encode()


def row(count, item="0"):
    return f"[{','.join([item] * count)}]"


def text(count):
    return f'"{"x" * count}"'


VIEW = '[0,"float32",[],[],0]'
COLLIDING = row(messages.MAX_KEYS + 1, "[1,1]")
FULL = {  # field, what it may just hold, what is too much
    "same": (row(messages.MAX_TENSORS), row(messages.MAX_TENSORS + 1)),
    "origins": (row(messages.MAX_TENSORS), row(messages.MAX_TENSORS + 1)),
    "views": (row(messages.MAX_TENSORS, VIEW), row(messages.MAX_TENSORS + 1, VIEW)),
    "written": (row(messages.MAX_TENSORS, "[0,0]"), row(messages.MAX_TENSORS + 1, "[0,0]")),
    "moved": (row(messages.MAX_TENSORS, "[0,0]"), row(messages.MAX_TENSORS + 1, "[0,0]")),
    "arguments": (row(messages.MAX_TENSORS, "[true,0]"), row(messages.MAX_TENSORS + 1, "[true,0]")),
    "modules": (
        row(messages.MAX_MODULES, '{"number":0,"names":[],"tensors":[]}'),
        row(messages.MAX_MODULES + 1, '{"number":0,"names":[],"tensors":[]}'),
    ),
    "forbidden": (text(messages.MAX_NAME), text(messages.MAX_NAME + 1)),
    "call": (str(1 << 62), str((1 << 62) + 1)),
    "value": (text(messages.MAX_TEXT), text(messages.MAX_TEXT + 1)),
    "containers": (row(messages.MAX_NODES - 2), row(messages.MAX_NODES - 1)),
}


@pytest.mark.parametrize("field", FULL)
def test_each_field_has_its_limit(field):
    """What it may hold is a message; one more is none."""
    just, more = FULL[field]
    assert isinstance(wire.read_outside(returned(**{field: just})), messages.Returned)
    with pytest.raises(ProtocolError):
        wire.read_outside(returned(**{field: more}))


@pytest.mark.parametrize(
    "header",
    [
        returned(value=str((1 << 53) + 1)), returned(value="9" * 5000), returned(value='{"a":1,"b":2}'),
        returned(value=f'{{"d":{COLLIDING}}}'), returned(views='[[0,"float32",' + row(65) + "," + row(65) + ",0]]"),
        returned(views=f"[[0,{text(501)},[],[],0]]"),
        returned(modules=f'[{{"number":0,"names":[{text(501)}],"tensors":[0]}}]'),
        b'{"type":"Ran","text":' + text(2001).encode() + b"}", b'{"type":"Ran","kind":' + text(501).encode() + b"}",
        b'{"type":"Raised","kind":"E","text":"","lines":' + row(21, "[1,1]").encode() + b"}",
        b'{"type":"Loaded","found":' + row(10_001, '"f"').encode() + b"}",
        b'{"type":"Gradients","views":[],"tensors":' + row(10_001).encode() + b"}",
        b'{"type":"Ask","name":"f","args":' + row(100_000).encode() + b',"kwargs":{"d":[]},"views":[]}',
        b'{"type":"Ask","name":' + text(501).encode() + b',"args":[],"kwargs":{"d":[]},"views":[]}',
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_too_much_is_refused(header):
    """Numbers, keys, dimensions, names, texts, lines, lists: none is longer than the protocol says."""
    with pytest.raises(ProtocolError):
        wire.read_outside(header)


def test_what_may_be_sent_may_be_read():
    """The largest value that a child may send is within what is read; one that is larger says so inside."""
    largest = [complex(math.nan, math.inf)] * (messages.MAX_VALUES - 1)
    packer = packing.Packer()
    tree = packer.value(largest)
    frame = packer.frame(messages.Returned(0, tree, [], [], messages.State()))
    assert len(frame) < messages.MAX_HEADER
    assert len(parted(frame)[0].value) == messages.MAX_VALUES - 1
    with pytest.raises(OverflowError):
        packing.Packer().value([0] * messages.MAX_VALUES)
    with pytest.raises(OverflowError):
        packing.Packer().value(dict.fromkeys(range(messages.MAX_KEYS + 1)))


def test_keys_that_collide_cost_no_time():
    """Python's hash of an integer is no secret: a hundred dicts, each with as many keys of one hash as it may have."""
    collide = [[{"i": str(number * ((1 << 61) - 1))}, 0] for number in range(messages.MAX_KEYS)]
    trees = [{"d": collide}] * (messages.MAX_NODES // (5 * messages.MAX_KEYS))
    wire.check_trees(trees)
    started = time.process_time()
    packing.unpack(trees, [], no_module, foreign)
    assert time.process_time() - started < 3.0


CALL = messages.Call("f", [], [], [View(0, "float32", [1], [1], 0), View(1, "float32", [1], [1], 0)], messages.State())
STATES = [messages.Module(0, ["a", "b"], [0, 0]), messages.Module(1, [], [])]


def answer(**fields):
    views, arguments = [View(0, "float32", [1], [1], 0)], [(False, -1), (False, 0)]
    return messages.Returned(0, 1, views, [-1], messages.State(), **{"arguments": arguments, **fields})


def test_an_answer_that_fits_its_call_is_taken():
    """Two arguments, in two storages, and one tensor that came back."""
    wire.check_answer(answer(written=[(0, 0), (1, 0)], moved=[(1, 0)], origins=[1], modules=STATES), CALL, 2, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"written": [(0, 0), (0, 0)]}, {"written": [(2, 0)]}, {"written": [(0, 1)]}, {"written": [(-1, 0)]},
        {"written": [(0, -1)]}, {"moved": [(0, 0), (0, 0)]}, {"moved": [(2, 0)]}, {"moved": [(0, 1)]}, {"moved": [(-1, 0)]},
        {"arguments": []}, {"arguments": [(False, -1)] * 3}, {"arguments": [(True, 1), (True, -1)]}, {"origins": [0, 0]},
        {"origins": [2]}, {"modules": [STATES[0], STATES[0]]}, {"modules": [messages.Module(-1, [], [])]},
        {"modules": [messages.Module(0, ["a"], [])]}, {"modules": [messages.Module(0, ["a", "a"], [0, 0])]},
        {"modules": [messages.Module(0, ["a"], [1])]}, {"modules": [messages.Module(0, ["a"], [-1])]},
    ],
    ids=str,
)  # fmt: skip
def test_an_answer_that_names_what_is_not_there_is_refused(fields):
    """Or one thing twice: to write one storage a million times over would take hours."""
    with pytest.raises(ProtocolError):
        wire.check_answer(answer(**fields), CALL, 2, 1)


@pytest.mark.parametrize("same", [[2], [-1, -1]], ids=str)
def test_a_result_is_a_tensor_of_the_answer_or_an_argument(same):
    """Neither a third argument nor a second tensor."""
    said = answer()
    said.same = same
    with pytest.raises(ProtocolError):
        wire.check_answer(said, CALL, 2, 1)


def test_a_seeded_storm_of_broken_frames_never_breaks_the_reader():
    """Thousands of frames with bytes changed, cut, put in and doubled: a message or a refusal, and no growth."""
    rng = random.Random(20261124)  # noqa: S311 - a seeded storm, no secret
    good = [sample_frame(number) for number in range(8)]
    for number in range(4000):
        if number == 400:
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
        read_all(broken(rng, rng.choice(good)))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2 << 20


def sample_frame(number):
    """A frame of each kind that the inside sends."""
    packer = packing.Packer()
    x = torch.arange(6.0).reshape(2, 3)
    value = packer.value([(x, x.T, {"a": 1.5, "b": [x[0], 2**70, math.nan, 1j]}), "text", None, torch.eye(2).bool()])
    views, state = packer.views, messages.State()
    if number % 4 == 0:
        return packer.frame(messages.Returned(1, value, views, [-1] * len(views), state, [(0, 1)], [(0, 1)], [(True, -1)]))
    if number % 4 == 1:
        return packer.frame(messages.Ask("softmax", value, {"d": []}, views))
    if number % 4 == 2:
        return packer.frame(messages.Gradients([0, 1, -1], views))
    return packer.frame(messages.Raised("ValueError", "text", [(1, 2)]))


def broken(rng, data):
    """A header and a body, damaged."""
    n_header = wire.LENGTHS.unpack(data[:8])[0]
    parts = [bytearray(data[8 : 8 + n_header]), bytearray(data[8 + n_header :])]
    for _ in range(rng.randint(1, 4)):
        part = parts[rng.random() < 0.4]
        at = rng.randrange(len(part) + 1)
        act = rng.randrange(5)
        if act == 0 and at < len(part):
            part[at] = rng.randrange(256)
        elif act == 1:
            part[at:at] = rng.choice([b"-", b"9" * 25, b"[", b"{}", b'"t":', b"null", b"\0", b"1e99", rng.randbytes(4)])
        elif act == 2:
            del part[at : at + rng.randint(1, 30)]
        elif act == 3:
            part[at:at] = part[at : at + rng.randint(1, 60)]
        elif act == 4 and at < len(part) and part[at : at + 1].isdigit():
            part[at : at + 1] = str(rng.choice([-1, 0, 7, 255, 2**31, 2**63, 2**64])).encode()
    return bytes(parts[0]), bytes(parts[1])


def read_all(frame):
    """Reads a frame as the grader does, down to its values; only a refusal may come out."""
    header, body = frame
    try:
        message, pieces = wire.read_outside(header), wire.pieces_of(body)
        tensors, _ = packing.build(getattr(message, "views", []), pieces, LIMIT)
        for tree in (getattr(message, "value", None), getattr(message, "args", None)):
            packing.unpack(tree, tensors, lambda number: number, foreign)
        assert all(bool((tensor == tensor).any()) or True for tensor in tensors)  # every byte is there to be read
    except ProtocolError:
        return
