"""What comes over the pipe is a value, or is refused by name before it does anything."""

import json
import socket
import struct
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.grading import frames, values
from lora_lab.grading.frames import Refused

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def refuse(node):
    raise Refused("unknown")


@given(PLAIN)
def test_a_value_is_the_same_after_the_pipe(value):
    encoder = values.Encoder(refuse)
    node = json.loads(json.dumps(encoder.node(value)))
    assert values.Decoder(encoder.tensors, refuse).value(node) == value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(sorted(values._KINDS | {"0", "g", "ng", "Linear"})),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_any_json_is_a_value_or_refused(node, arguments):
    decoder = values.Decoder({"0": torch.ones(2)}, refuse, [torch.ones(1), []], remember=arguments)
    try:
        decoder.value(node)
    except Refused as refused:
        assert str(refused)


@pytest.fixture
def pipe():
    mine, theirs = socket.socketpair()
    with mine, theirs:
        yield mine, theirs


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data):
    mine, theirs = socket.socketpair()
    with mine, theirs:
        theirs.sendall(struct.pack("<II", len(data) // 2, len(data) - len(data) // 2) + data)
        with pytest.raises(Refused):
            frames.receive(mine)


@pytest.mark.parametrize("lengths", [(2**32 - 1, 0), (0, 2**32 - 1), (frames.TEXT + 1, 0), (1, frames.FRAME)])
def test_a_message_that_is_too_long_is_refused_before_it_is_read(pipe, lengths):
    pipe[1].sendall(struct.pack("<II", *lengths))
    with pytest.raises(Refused, match="at most"):
        frames.receive(pipe[0])


def test_a_value_that_is_too_large_is_not_sent(pipe):
    with pytest.raises(Refused, match="at most"):
        frames.send(pipe[0], {}, {"a": torch.zeros(frames.FRAME // 4 + 1)})


def test_one_byte_at_a_time_does_not_prolong_the_deadline(pipe):
    def drip():
        for _ in range(40):
            try:
                pipe[1].send(b"\0")
            except OSError:
                return
            time.sleep(0.02)

    thread = threading.Thread(target=drip)
    pipe[1].sendall(struct.pack("<II", 40, 0))
    thread.start()
    with pytest.raises(frames.TooLate):
        frames.receive(pipe[0], time.monotonic() + 0.2)
    pipe[0].close()
    thread.join()


def test_who_hangs_up_has_ended_and_who_does_not_listen_is_late(pipe):
    with pytest.raises(frames.TooLate):
        frames.send(pipe[0], {"a": "x" * 2**22}, {}, time.monotonic() + 0.1)
    pipe[1].close()
    with pytest.raises(frames.Ended):
        frames.receive(pipe[0])


def test_a_value_is_neither_endless_nor_bottomless():
    knot: list = []
    knot.append(knot)
    with pytest.raises(Refused, match="levels"):
        values.Encoder(refuse).node(knot)
    for node in (["list", [1] * values.COUNT], ["int", "f" * (values.DIGITS + 1)]):
        with pytest.raises(Refused):
            values.Decoder({}, refuse).value(node)


def test_a_truth_value_is_true_or_false():
    lying = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(torch.bool)
    found = values.Decoder({"0": lying}, refuse).value(["tensor", "0", "", None])
    assert found.view(torch.uint8).tolist() == [0, 1, 1, 1]


def test_no_key_of_a_dictionary_has_more_than_64_bits():
    """Python puts all multiples of 2**61 - 1 into one place, and looks at each of them to find the next."""
    with pytest.raises(Refused, match="more than 64 bits"):
        values.Decoder({}, refuse).value(["dict", [[["int", format(2**70, "x")], 0]]])
    assert values.Decoder({}, refuse).value(["dict", [[2**62, 0]]]) == {2**62: 0}


def test_a_value_has_no_more_parts_than_are_counted_in_all_its_branches():
    half = ["list", [1] * (values.COUNT // 2 + 1)]
    with pytest.raises(Refused, match="parts"):
        values.Decoder({}, refuse).value(["list", [half, half]])
