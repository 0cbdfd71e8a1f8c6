"""Tall frames as rows of tensors: orthonormal, with the R of Householder reflections, in place, or refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dynsys.passes.orthonormal import orthonormalise  # noqa: E402
from dynsys.training.frames import orthonormalise_rows  # noqa: E402

pytestmark = pytest.mark.torch


def frame(ratio, dtype, n=70_000):
    """Six rows that are nearly parallel for a large ratio, of very different lengths."""
    rng = np.random.default_rng(0)
    V = rng.normal(size=(6, n)) / ratio + rng.normal(size=n)
    return torch.as_tensor(V * np.array([1.0, 1e-15, 1e15, 1.0, 1.0, 1e-3])[:, None], dtype=dtype)


@pytest.mark.parametrize("ratio", [1.0, 300.0, 3e3, 1e6, 1e8])
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1e-7), (torch.float64, 1e-13)])
def test_rows_become_orthonormal_with_the_R_of_reflections(ratio, dtype, least):
    V = frame(ratio, dtype)
    Q, R = orthonormalise(V.double().numpy().T)
    memory = V.data_ptr()
    found = orthonormalise_rows(V)
    assert V.data_ptr() == memory
    rows = V.double().numpy()
    np.testing.assert_allclose(rows @ rows.T, np.eye(6), rtol=0, atol=least)
    np.testing.assert_allclose(np.log(np.diag(found)), np.log(np.diag(R)), rtol=0, atol=1e-8 + 1e-16 * ratio)
    np.testing.assert_allclose(np.abs(np.sum(rows.T * Q, axis=0)), 1.0, rtol=0, atol=1e-5)
    assert (np.tril(found, -1) == 0.0).all()


@pytest.mark.parametrize(("dtype", "power"), [(torch.float32, 35.0), (torch.float64, 250.0)])
def test_lengths_whose_squares_over_and_underflow_do_no_harm(dtype, power):
    V = frame(1.0, torch.float64, n=9_000)
    V /= V.norm(dim=1, keepdim=True)
    plain = V.clone()
    R = orthonormalise_rows(plain)
    powers = torch.tensor([power, -power, 0.0, power, -power, 0.0], dtype=torch.float64)
    scaled = (V * 10.0 ** powers[:, None]).to(dtype)
    found = orthonormalise_rows(scaled)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-11
    np.testing.assert_allclose(
        np.log(np.diag(found)), np.log(np.diag(R)) + np.log(10.0) * powers.numpy(), atol=tolerance
    )
    np.testing.assert_allclose(scaled.double(), plain, rtol=0, atol=tolerance)


@pytest.mark.parametrize("spoil", ["parallel", "zero", "nan", "infinite"])
def test_what_has_no_frame_is_refused(spoil):
    V = frame(1.0, torch.float64, n=50)
    V[1] = {"parallel": 2.0 * V[0], "zero": 0.0 * V[1], "nan": V[1] * np.nan, "infinite": V[1] + np.inf}[spoil]
    assert orthonormalise_rows(V) is None


def test_no_rows_have_no_R():
    assert orthonormalise_rows(torch.empty((0, 5))).shape == (0, 0)
