import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab import lowrank


def random_matrix(d_out: int, d_in: int, seed: int) -> torch.Tensor:
    return torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25)
@given(st.integers(1, 23), st.integers(1, 31), st.integers(0, 99), st.data())
def test_what_is_left_over_has_exactly_the_energy_of_the_dropped_singular_values(d_out, d_in, seed, data):
    weight = random_matrix(d_out, d_in, seed).double()
    r = data.draw(st.integers(1, min(d_out, d_in)))
    B, A = lowrank.truncated_svd(weight, r)
    assert B.shape == (d_out, r) and A.shape == (r, d_in)
    dropped = torch.linalg.eigvalsh(weight @ weight.T).flip(0)[r:].clamp(min=0).sum()
    assert torch.allclose((weight - B @ A).square().sum(), dropped, rtol=1e-9, atol=1e-9)


def test_no_random_or_trained_factors_come_closer_than_the_truncated_svd():
    weight, r = random_matrix(12, 17, 0).double(), 3
    B, A = lowrank.truncated_svd(weight, r)
    best = (weight - B @ A).norm()
    free_B, free_A = (
        random_matrix(12, r, 1).double().requires_grad_(),
        random_matrix(r, 17, 2).double().requires_grad_(),
    )
    optimizer = torch.optim.LBFGS([free_B, free_A], max_iter=500)

    def closure():
        optimizer.zero_grad()
        loss = (weight - free_B @ free_A).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    reached = (weight - free_B @ free_A).norm().item()
    assert best.item() <= reached + 1e-9 and reached == pytest.approx(best.item(), rel=1e-3)


def test_full_rank_restores_the_weight_and_keeps_its_dtype():
    weight = random_matrix(5, 8, 3)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        B, A = lowrank.truncated_svd(weight.to(dtype), 5)
        assert B.dtype == A.dtype == dtype
        assert torch.allclose((B @ A).float(), weight, atol=0.1 if dtype == torch.bfloat16 else 1e-5)


def test_factors_share_the_singular_values_evenly():
    B, A = lowrank.truncated_svd(random_matrix(9, 6, 4).double(), 4)
    assert torch.allclose(B.T @ B, A @ A.T, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_factors_with_a_zero_product_are_each_random_of_half_the_rank(dtype):
    B, A = lowrank.zero_product(41, 53, 6, dtype=dtype)
    assert B.shape == (41, 6) and A.shape == (6, 53) and A.dtype == B.dtype == dtype
    assert torch.linalg.matrix_rank(A.double()) == torch.linalg.matrix_rank(B.double()) == 3
    assert A.double().square().sum() == pytest.approx(3 * 53, rel=0.5)
    x = torch.randn(53, 4).to(dtype)
    assert not (B @ A).any() and not (B @ (A @ x)).any()


def test_rank_for_energy_is_the_smallest_rank_that_keeps_it():
    weight = random_matrix(20, 14, 5).double()
    for energy in (0.1, 0.5, 0.9, 0.99, 1.0):
        r = lowrank.rank_for_energy(weight, energy)
        kept = [
            float(torch.linalg.matrix_norm(torch.matmul(*lowrank.truncated_svd(weight, k))) ** 2)
            / float(weight.norm() ** 2)
            for k in (r, max(1, r - 1))
        ]
        assert kept[0] >= energy - 1e-12 and (r == 1 or kept[1] < energy)


def test_soft_ranks_of_matrices_whose_answers_are_known():
    identity = torch.eye(7)
    assert lowrank.stable_rank(identity) == pytest.approx(7) and lowrank.effective_rank(identity) == pytest.approx(7)
    outer = torch.outer(torch.arange(1.0, 6), torch.arange(1.0, 4))
    assert lowrank.stable_rank(outer) == pytest.approx(1) and lowrank.effective_rank(outer) == pytest.approx(
        1, abs=1e-4
    )
    diagonal = torch.diag(torch.tensor([2.0, 1.0]))
    assert lowrank.stable_rank(diagonal) == pytest.approx(1.25)
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert lowrank.effective_rank(diagonal) == pytest.approx(math.exp(entropy))


def test_stable_rank_never_exceeds_rank_and_ignores_scale():
    weight = random_matrix(11, 6, 6)
    assert 1 <= lowrank.stable_rank(weight) <= 6
    assert lowrank.stable_rank(weight * 1e-3) == pytest.approx(lowrank.stable_rank(weight))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lowrank.truncated_svd(torch.ones(4, 6), 5), "from 1 to 4"),
        (lambda: lowrank.truncated_svd(torch.ones(4, 6), 0), "r=0"),
        (lambda: lowrank.truncated_svd(torch.ones(4), 1), r"shape \(4,\)"),
        (lambda: lowrank.truncated_svd(torch.full((2, 2), math.nan), 1), "NaN"),
        (lambda: lowrank.zero_product(4, 6, 3), "r=3"),
        (lambda: lowrank.zero_product(4, 6, 0), "r=0"),
        (lambda: lowrank.rank_for_energy(torch.eye(2), 1.5), "1.5"),
        (lambda: lowrank.rank_for_energy(torch.eye(2), 0.0), "0.0"),
        (lambda: lowrank.rank_for_energy(torch.zeros(2, 2)), "zero matrix"),
        (lambda: lowrank.stable_rank(torch.zeros(2, 2)), "zero matrix"),
        (lambda: lowrank.effective_rank(torch.zeros(2, 2)), "zero matrix"),
        (lambda: lowrank.truncated_svd(torch.ones(4, 6, device="meta"), 1), "meta device"),
        (lambda: lowrank.stable_rank(torch.full((2, 2), 1.7e308, dtype=torch.float64)), "beyond float64"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool])
def test_integers_have_factors_in_torchs_default_dtype(dtype):
    weight = torch.tensor([[3, 1], [1, 2]]).to(dtype)
    B, A = lowrank.truncated_svd(weight, 2)
    assert B.dtype == A.dtype == torch.get_default_dtype()
    torch.testing.assert_close(B @ A, weight.float())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lowrank.truncated_svd(torch.eye(2).numpy(), 1), "ndarray: torch.as_tensor"),
        (lambda: lowrank.singular_values([[1.0]]), "list"),
        (lambda: lowrank.stable_rank(torch.eye(2, dtype=torch.complex64)), "complex64"),
        (lambda: lowrank.effective_rank(torch.eye(2).to_sparse()), "sparse"),
        (lambda: lowrank.truncated_svd(torch.eye(2), True), "r=True must be an integer"),
        (lambda: lowrank.truncated_svd(torch.eye(2), 2.0), "2.0"),
        (lambda: lowrank.truncated_svd(torch.eye(2), "2"), "'2'"),
        (lambda: lowrank.zero_product(4, 6, 2.0), "2.0"),
        (lambda: lowrank.zero_product(4, 6, 2, dtype=torch.int64), "int64"),
        (lambda: lowrank.rank_for_energy(torch.eye(2), "0.9"), "'0.9'"),
        (lambda: lowrank.rank_for_energy(torch.eye(2), True), "True"),
    ],
)
def test_wrong_kinds_are_named(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize("scale", [1e200, 1e-200, 5e-324])
def test_ranks_and_shares_do_not_depend_on_the_scale(scale):
    weight = torch.eye(3, dtype=torch.float64) * scale
    assert lowrank.stable_rank(weight) == pytest.approx(3) and lowrank.effective_rank(weight) == pytest.approx(3)
    assert lowrank.rank_for_energy(weight, 0.6) == 2
    assert lowrank.energy_fractions(weight).tolist() == pytest.approx([1 / 3, 2 / 3, 1])
