"""What does not fit into memory ends in one line."""

import ctypes

import numpy as np
import pytest
import torch

import recsys as package
from recsys import memory
from recsys.errors import UserError


def test_what_is_left_is_bounded_by_the_machine_and_by_the_control_group(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 16000 kB\nMemAvailable: 8000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available() == 8000 * 1024
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == 8000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.available() == 2000
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "nowhere")
    assert memory.available() is None
    memory.check_fits(2**60, "what nobody can check", "")


@pytest.mark.parametrize("model", ["ease", "contentridge"])
def test_a_matrix_of_item_pairs_that_does_not_fit_is_refused_before_it_is_made(model, monkeypatch):
    data = package.toy_data()
    needed = 12 * data.n_items**2
    monkeypatch.setattr(memory, "available", lambda: needed - 10_000)
    with pytest.raises(UserError, match=r"on 5\d|on 60 items needs .* GiB of memory, .* left; use a model"):
        package.train(model, data)
    monkeypatch.setattr(memory, "available", lambda: needed)
    assert package.train(model, data).metrics.test


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 9 TiB"), RuntimeError("not enough memory: 9 TiB")]
)
def test_an_allocation_that_fails_all_the_same_is_one_line(recsys, monkeypatch, error):
    from recsys.models.closed_form.pop import Pop

    def fit(self):
        raise error

    monkeypatch.setattr(Pop, "fit", fit)
    status, _, err = recsys("train", "--model", "pop", "--dataset", "toy", "--out", "run")
    assert status == 2 and "out of memory" in err and "9 TiB" in err and err.count("\n") == 1


def test_ease_inverts_in_place_what_scipy_would_crash_on():
    from recsys.models.closed_form.ease import inverse_in_place

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 60))
    gram = np.asfortranarray(rows.T @ rows + np.eye(60))
    expected = np.tril(np.linalg.inv(gram))
    found = inverse_in_place(gram)
    assert np.shares_memory(found, gram)
    assert np.allclose(np.tril(found), expected, atol=1e-12)
    with pytest.raises(UserError, match="cannot be inverted"):
        inverse_in_place(np.asfortranarray(-np.eye(3)))


def test_freed_memory_is_kept_within_and_given_back_behind():
    size = 2**27
    if memory.resident() == 0 or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("needs glibc and /proc")
    with memory.kept(size):
        held = torch.zeros(size // 4)
        used = memory.resident()
        del held
        assert memory.resident() > used - size / 2
    assert memory.resident() < used - size / 2


def test_a_threshold_that_the_environment_sets_stays(monkeypatch):
    """A trial on a copy has its own, so that what it keeps is not counted for more than it is in the run."""
    monkeypatch.setenv(memory.CHOSEN, "1000000")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("glibc is asked"))
    with memory.kept(1):
        pass


def test_without_glibc_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    with memory.kept(1):
        pass
