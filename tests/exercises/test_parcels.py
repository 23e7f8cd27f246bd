"""The puzzle of exercise 09: what pieces weigh, what they become, and that nothing else gets through."""

import pytest
import torch

from lora_lab.authoring import percent
from lora_lab.exercises import tasks
from lora_lab.exercises.practice import parcels
from lora_lab.exercises.tasks import Wrong
from tests.helpers.lessons import MASTERS

GIVEN = MASTERS.parent / "exercises" / "09_build_nf4.py"


def given():
    """The two tools of the notebook."""
    cells = percent.parse(GIVEN.read_text(encoding="utf-8"))
    names = {"torch": torch, "math": __import__("math")}
    exec(next(cell.source for cell in cells if "def restore(" in cell.source and not cell.tags), names)
    return names["pack"], names["restore"]


def mixed(seed=0):
    """Pieces of all three kinds, codes of each width among them."""
    torch.manual_seed(seed)
    pieces = [{"B": torch.randn(160, 3).half(), "A": torch.randn(3, 96).to(torch.float8_e4m3fn)}]
    pieces.append({"columns": torch.tensor([7, 0], dtype=torch.int16), "values": torch.randn(160, 2).bfloat16()})
    for bits in range(1, 9):
        codes = torch.randint(2**bits, (160, 5))
        levels, scale = torch.randn(2**bits), torch.rand(1 if bits % 2 else 4, 5).half()
        columns = torch.randperm(96)[:5].byte()
        pieces.append({"columns": columns, "codes": parcels.pack(codes, bits), "levels": levels, "scale": scale})
    return pieces


def test_the_notebooks_tools_are_the_checks():
    pack, restore = given()
    assert torch.equal(restore(mixed(), (160, 96)), parcels.restore(mixed(), torch.Size([160, 96])))
    for bits in range(1, 9):
        codes = torch.randint(2**bits, (37, 3))
        assert torch.equal(pack(codes, bits), parcels.pack(codes, bits))


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_come_back_from_the_fewest_whole_bytes(bits):
    codes = torch.randint(2**bits, (13, 7))
    packed = parcels.pack(codes, bits)
    assert packed.dtype == torch.uint8 and len(packed) == -(-13 * 7 * bits // 8)
    assert torch.equal(parcels.unpack(packed, bits, 91).view(13, 7), codes)


def test_every_byte_of_every_tensor_counts():
    pieces = mixed()
    assert parcels.count(pieces) == sum(value.nbytes for piece in pieces for value in piece.values())
    assert parcels.count([]) == 0


def test_a_piece_is_added_to_its_columns_alone():
    piece = {"columns": torch.tensor([3, 95]), "values": torch.ones(160, 2)}
    weight = parcels.restore([piece, piece], torch.Size([160, 96]))
    assert weight[:, [3, 95]].eq(2).all() and weight.sum() == 2 * 2 * 160


@pytest.mark.parametrize(
    "pieces",
    [
        {"B": torch.zeros(160, 1), "A": torch.zeros(1, 96)},
        [{"B": torch.zeros(160, 1)}],
        [{"B": torch.zeros(160, 1), "A": torch.zeros(1, 96), "note": torch.zeros(1)}],
        [{"B": torch.zeros(160, 1), "A": torch.zeros(2, 96)}],
        [{"B": torch.zeros(160, 1, dtype=torch.float64), "A": torch.zeros(1, 96)}],
        [{"B": torch.full((160, 1), float("nan")), "A": torch.zeros(1, 96)}],
        [{"B": [[0.0]] * 160, "A": torch.zeros(1, 96)}],
        [{"columns": torch.tensor([96]), "values": torch.zeros(160, 1)}],
        [{"columns": torch.tensor([-1]), "values": torch.zeros(160, 1)}],
        [{"columns": torch.tensor([5, 5]), "values": torch.zeros(160, 2)}],
        [{"columns": torch.tensor(5), "values": torch.zeros(160, 1)}],
        [{"columns": torch.tensor([5.0]), "values": torch.zeros(160, 1)}],
        [mixed()[2] | {"levels": torch.zeros(3)}],
        [mixed()[2] | {"scale": torch.zeros(3, 5)}],
        [mixed()[2] | {"codes": torch.zeros(99, dtype=torch.uint8)}],
        [{"B": torch.zeros(160, 0), "A": torch.zeros(0, 96)}] * 65,
    ],
)
def test_what_is_no_piece_is_refused(pieces):
    with pytest.raises(Wrong):
        parcels.count(pieces)


def test_memory_of_the_weights_is_of_no_use():
    remembered = []

    def recalls(weight, inputs):
        remembered.append(weight)
        return [{"columns": torch.tensor([len(remembered) - 1]), "values": torch.zeros(160, 1).half()}]

    with pytest.raises(Wrong, match="off by"):
        tasks.find("fewest_bytes").passes(recalls)


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_reaches_the_best_known_score(seed):
    torch.manual_seed(seed)
    score = tasks.find("fewest_bytes").passes(tasks.find("fewest_bytes").reference())
    assert score.used <= score.best
