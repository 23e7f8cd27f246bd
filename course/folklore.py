"""Write `folklore.md`: claims about LoRA and QLoRA, and what they are when somebody computes them.

    python course/folklore.py              # writes course/folklore.md, in seconds

Each row is a function in `claims/`. Its docstring is the claim, quoted with the page that we have opened, or else a
statement to judge that ends with "(exercise)". It returns the truth in words, every figure in which is computed there
with the library, and where it is shown: the lesson's name with one of its cells or the number of a section, as in
"03_lora_from_scratch guess-good_starts" or "07_where_the_bytes_go 2", or a place in the library.
`tests/course/test_folklore.py` compares the file with what this script writes.
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

from claims.sizes import (
    a_terabit,
    activation_rule,
    adapter_size,
    double_quantization,
    eighty_four_gb,
    half_a_byte,
    latency,
    less_activation_memory,
    llama_2_attention,
    lora_parameters,
    prepare_for_kbit,
    qlora_speed,
    rank_256,
    speed,
    total_with_adapters,
)
from claims.values import (
    as_many_negative,
    doubled_alpha,
    dynamic_map,
    equal_mass,
    identity,
    merge_into_four_bits,
    normal_float_8,
    not_reproducible,
    optimal,
    zero_factor,
)

PATH = Path(__file__).with_name("folklore.md")

Row = Callable[[], tuple[str, str]]

ROWS: tuple[Row, ...] = (
    lora_parameters, llama_2_attention, total_with_adapters, rank_256, adapter_size, half_a_byte,
    double_quantization, eighty_four_gb, activation_rule, less_activation_memory, prepare_for_kbit, speed,
    qlora_speed, latency, zero_factor, doubled_alpha, merge_into_four_bits, not_reproducible, as_many_negative,
    equal_mass, optimal, normal_float_8, dynamic_map, a_terabit, identity,
)  # fmt: skip


def text() -> str:
    """The whole of `folklore.md`."""
    lines = [
        "# Folklore",
        "",
        "Claims about LoRA and QLoRA, and what they are when somebody computes them. Each names a page that we have",
        "opened; what stands in “ ” stands there. An *exercise* names none: true or false? Every figure in the second",
        "column is computed by a function that `course/folklore.py` names, in the same order, with this course's",
        "library; GB means 10⁹ bytes. The last column says where it is shown at length: the lesson, and its cell or",
        "section.",
        "",
        "| claim | computed | shown in |",
        "|---|---|---|",
    ]
    for row in ROWS:
        truth, where = row()
        spaced = re.sub(r"(?<=\d)%", " %", truth)
        claim = " ".join((row.__doc__ or "").split()).replace("(exercise)", "*(exercise)*")
        lines.append(f"| {claim} | {spaced} | {_place(where)} |")
    return "\n".join(lines) + "\n"


def lesson_and_cell(where: str) -> tuple[str, str] | None:
    """The lesson's name and what of it, if a lesson shows it."""
    match = re.fullmatch(r"(\d\d_\w+) (\S+)", where)
    return (match[1], match[2]) if match else None


def main() -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    PATH.write_text(text(), encoding="utf-8")


def _place(where: str) -> str:
    """The last column: a link to the lesson, with its cell or section."""
    if (found := lesson_and_cell(where)) is None:
        return where
    name, part = found
    return f"[{name[:2]}](workbook/{name}.ipynb), {f'section {part}' if part.isdecimal() else f'`{part}`'}"


if __name__ == "__main__":
    main()
