"""A model inside a random subspace is θ₀ + P z: compared with P written out, on sizes that do not divide."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from lora_lab.train import loop, subspace
from tests.helpers.models import IDS, tiny_llama

SIZES = [(1, 1), (12, 3), (101, 7), (64, 64), (100, 99)]


@pytest.mark.parametrize("D, d", SIZES)
def test_P_has_one_sign_a_row_and_perpendicular_columns_of_nearly_one_length(D, d):
    P = subspace.Projection(D, d, seed=3).written_out()
    assert P.shape == (D, d)
    assert torch.equal(P.abs().sum(1), torch.ones(D)) and torch.equal(P.square().sum(1), torch.ones(D))
    gram = P.T @ P
    assert torch.equal(gram, torch.diag(gram.diagonal()))
    assert gram.diagonal().min() >= D // d and gram.diagonal().max() <= -(-D // d)


def test_a_seed_gives_one_subspace_and_another_seed_another():
    first, again, other = (subspace.Projection(50, 5, seed).written_out() for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert -30 < float(first.sum()) < 30, "signs of both kinds"


@pytest.mark.parametrize("D, d", SIZES)
def test_the_product_is_that_with_P_written_out_and_trains_z(D, d):
    P, z = subspace.Projection(D, d), torch.randn(d, requires_grad=True)
    dense, pull = P.written_out(), torch.randn(D)
    assert torch.allclose(P(z), dense @ z)
    (gradient,) = torch.autograd.grad(P(z) @ pull, z)
    assert torch.allclose(gradient, dense.T @ pull, atol=1e-5)


@pytest.mark.parametrize("D, d", SIZES)
def test_nearest_solves_the_least_squares_problem(D, d):
    P, theta = subspace.Projection(D, d, seed=2), torch.randn(D, dtype=torch.float64)
    wanted = torch.linalg.lstsq(P.written_out().double(), theta[:, None]).solution[:, 0]
    assert torch.allclose(P.nearest(theta), wanted, atol=1e-12)


def test_a_random_subspace_of_as_many_dimensions_as_equations_solves_them():
    dice = torch.Generator().manual_seed(0)
    X, y = (torch.randn(*shape, generator=dice, dtype=torch.float64) for shape in ((6, 40), (6, 1)))
    for d, solves in ((5, False), (6, True)):
        XP = X @ subspace.Projection(40, d, seed=1).written_out().double()
        left = (XP @ torch.linalg.lstsq(XP, y, driver="gelsd").solution - y).norm()
        assert (left < 1e-9) == solves


def test_entering_moves_nothing_and_leaves_only_z_to_train():
    model = tiny_llama()
    before = model(IDS).logits
    z = subspace.enter(model, 50)
    assert torch.equal(model(IDS).logits, before)
    assert [p is z for p in model.parameters() if p.requires_grad] == [True]


def test_the_matrices_of_the_model_move_by_their_rows_of_P_z_and_nothing_else_moves():
    model, plain = tiny_llama(), tiny_llama()
    z = subspace.enter(model, 77, seed=5)
    nn.init.normal_(z, std=0.1)
    linear = [name for name, module in plain.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"]
    sizes = [plain.get_submodule(name).weight.numel() for name in linear]
    moves = (subspace.Projection(sum(sizes), 77, seed=5).written_out() @ z).detach().split(sizes)
    subspace.leave(model)
    for name, move in zip(linear, moves):
        weight = plain.get_submodule(name).weight
        assert torch.allclose(model.get_submodule(name).weight, weight + move.view_as(weight), atol=1e-6)
        weight.data += move.view_as(weight)
    assert torch.allclose(model(IDS).logits, plain(IDS).logits, atol=1e-4)
    assert set(model.state_dict()) == set(plain.state_dict())
    assert torch.equal(model.lm_head.weight, plain.lm_head.weight)


def test_training_inside_lowers_the_loss_and_stays_inside():
    model = nn.Sequential(nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3))
    start = torch.cat([model[i].weight.detach().flatten() for i in (0, 2)])
    biases = [model[i].bias.clone() for i in (0, 2)]
    subspace.enter(model, 20)
    x, y = torch.randn(30, 9), torch.randn(30, 3)

    class Squares:
        def weight(self, model, batch):
            return 1.0

        def mean(self, model, batch):
            return (model(batch[0]) - batch[1]).square().mean()

    history = loop.run(model, [(x, y)], Squares(), steps=30, optimizer=lambda named: torch.optim.Adam(
        [p for _, p in named], lr=0.03))  # fmt: skip
    assert history.losses[-1] < 0.9 * history.losses[0]
    subspace.leave(model)
    change = torch.cat([model[i].weight.flatten() for i in (0, 2)]) - start
    P = subspace.Projection(len(change), 20)
    assert change.norm() > 0.1 and torch.allclose(P(P.nearest(change)), change, atol=1e-5)
    assert all(torch.equal(model[i].bias, bias) for i, bias in zip((0, 2), biases))


def test_after_leaving_the_model_is_plain_and_can_enter_again():
    model = tiny_llama()
    z = subspace.enter(model, 10)
    nn.init.ones_(z)
    inside = model(IDS).logits
    assert subspace.leave(model) is model
    assert torch.equal(model(IDS).logits, inside)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    subspace.enter(model, 10)


def test_bad_input_is_refused_in_a_sentence_and_changes_nothing():
    model = tiny_llama()
    with pytest.raises(ValueError, match="no subspace"):
        subspace.leave(model)
    for d in (0, 10**9):
        with pytest.raises(ValueError, match="d="):
            subspace.enter(model, d)
    with pytest.raises(TypeError, match="d="):
        subspace.enter(model, 2.5)
    assert all(p.requires_grad for p in model.parameters())
    subspace.enter(model, 3)
    with pytest.raises(ValueError, match=r"already.*leave\(model\)"):
        subspace.enter(model, 3)
