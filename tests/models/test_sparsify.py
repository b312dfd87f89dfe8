"""The pruning schedule and its masks."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.export import SMALL_TOPOLOGY  # noqa: E402
from ossicle.models.network import Transducer  # noqa: E402
from ossicle.models.sparsify import magnitude_mask, prune, target_sparsity  # noqa: E402


def test_schedule_is_zhu_and_guptas_cubic():
    assert target_sparsity(99, 100, 200, 0.8) == 0
    assert target_sparsity(100, 100, 200, 0.8) == pytest.approx(0)
    assert target_sparsity(150, 100, 200, 0.8) == pytest.approx(0.8 * (1 - 0.5**3))
    assert target_sparsity(200, 100, 200, 0.8) == target_sparsity(900, 100, 200, 0.8) == pytest.approx(0.8)
    rising = [target_sparsity(step, 100, 200, 0.8) for step in range(250)]
    assert rising == sorted(rising)


def test_the_smallest_go():
    weight = torch.tensor([[0.5, -0.1, 0.3], [0.0, -2.0, 0.2]])
    assert magnitude_mask(weight, 0.5).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert magnitude_mask(weight, 0).min() == 1


def test_gates_and_paths_keep_their_share_and_the_dead_stay_dead():
    torch.manual_seed(0)
    network = Transducer({**SMALL_TOPOLOGY, "vocabulary": 12})
    weight = network.weights["encoder_1"]
    with torch.no_grad():
        weight[256:512] *= 0.01  # one global threshold would kill the forget gate
    reached = prune(network, 50, 0, 100, {"encoder.1": 0.7})
    assert reached["encoder.1"] == pytest.approx(0.7 * (1 - 0.5**3), abs=1e-3)
    first = network.masks["encoder.1"].clone()
    assert prune(network, 100, 0, 100, {"encoder.1": 0.7})["encoder.1"] == pytest.approx(0.7, abs=1e-3)
    mask = network.masks["encoder.1"]
    assert (mask <= first).all()
    for gate in range(4):
        for columns in (slice(0, 512), slice(512, 768)):
            zeros = 1 - mask[256 * gate : 256 * (gate + 1), columns].mean().item()
            assert zeros == pytest.approx(0.7, abs=1e-3)
    assert (network.matrix("encoder.1")[0] == 0).float().mean().item() >= 0.699
