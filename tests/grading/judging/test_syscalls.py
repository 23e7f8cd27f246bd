"""The filter says no to what it lists and yes to all else: its program is run here as the kernel would run it."""

import struct

import pytest

from lora_lab.grading import syscalls

ALLOWED, DENIED = 0x7FFF0000, 0x00050001
X86, ARM = 0xC000003E, 0xC00000B7


def outcome(machine, number, architecture, flags=0):
    data = struct.pack("<IIQ6Q", number, architecture, 0, 0, 0, 0, flags, 0, 0)
    steps, place, held = syscalls.program(machine), 0, 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        if code == 0x06:
            return value
        if code == 0x20:
            held = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            held &= value
        else:
            place += if_true if (held >= value if code == 0x35 else held == value) else if_false


@pytest.mark.parametrize(
    ("machine", "architecture", "never", "always", "mmap"),
    [
        ("x86_64", X86, [319, 29, 68, 101, 250, 272, 425, 438], [0, 1, 2, 10, 56, 57, 60, 231, 257, 318, 320, 435], 9),
        ("aarch64", ARM, [279, 194, 186, 117, 219, 97, 425, 438], [56, 57, 63, 64, 93, 94, 220, 221, 226, 278], 222),
    ],
)
def test_what_is_listed_is_denied_and_nothing_else(machine, architecture, never, always, mmap):
    assert {outcome(machine, number, architecture) for number in never} == {DENIED}
    assert {outcome(machine, number, architecture) for number in always} == {ALLOWED}
    assert sum(outcome(machine, number, architecture) == DENIED for number in range(600)) == 23
    for flags, wanted in ((0x21, DENIED), (0x23, DENIED), (0x4021, DENIED), (0x22, ALLOWED), (0x01, ALLOWED)):
        assert outcome(machine, mmap, architecture, flags) == wanted


def test_calls_by_other_numbers_are_denied():
    assert outcome("x86_64", 1, 0x40000003) == DENIED  # of 32 bits
    assert outcome("x86_64", 0x40000000 | 1, X86) == DENIED
    assert outcome("aarch64", 64, X86) == DENIED


def test_an_answer_meets_the_filter(judge):
    code = """import mmap, os
answer = []
for attempt in (lambda: os.memfd_create("m"), lambda: mmap.mmap(-1, 4096),
                lambda: mmap.mmap(os.open("/dev/zero", os.O_RDWR), 4096)):
    try:
        attempt()
        answer.append("done")
    except OSError:
        answer.append("denied")
answer.append(len(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))
"""
    with judge.host.session(frozenset({"lowrank"}), judge.limits) as session:
        assert session.run([code], []) == {}
        assert session.answer("answer")[0] == ["denied"] * 3 + [4096]
