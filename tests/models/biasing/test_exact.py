"""One adapter's integers in training, in batches and on every device; fake quantization beside them."""

import numpy as np
import pytest
from ossicle.compiler.biasing import LSTM, compile_biased, read_adapter
from ossicle.hw.config import PRESETS
from ossicle.models.biasing.checkpoint import (
    adapter_topology,
    core_of,
    untrained_adapter,
    write_adapter,
    write_card,
)
from ossicle.models.export import read_checkpoint
from ossicle.runtime.biasing import BiasedDriver
from ossicle.runtime.phrases import Speller
from ossicle.sim.device import open_device

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.biasing.exact import ExactBiasing  # noqa: E402
from ossicle.models.biasing.network import BiasingAdapter, embedded_context  # noqa: E402
from ossicle.models.exact import ExactTransducer  # noqa: E402
from ossicle.models.initial import from_checkpoint  # noqa: E402

SIZES = {"heads": 3, "key": 7, "value": 11, "labels": 4, "embedding": 20, "hidden": 17}
PHRASES = ["kitchen", "a", "turn on the lights", "zero six"]
ENGINES = ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]
CONTEXTS = [(0, 0), (5, 9), (90, 1)]


@pytest.fixture(scope="module")
def core(untrained_checkpoint):
    return read_checkpoint(untrained_checkpoint)


@pytest.fixture(scope="module")
def adapter_path(core, tmp_path_factory):
    path = tmp_path_factory.mktemp("adapter") / "biasing.safetensors"
    adapter = untrained_adapter(adapter_topology(core.topology, SIZES), seed=3)
    write_adapter(path, adapter, core_of(core), {"name": "biasing"})
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("config", ["base", "small"])
def test_training_and_device_agree_in_every_word(engine, config, core, adapter_path, untrained_checkpoint):
    config, model = PRESETS[config], ExactTransducer(core)
    exact = ExactBiasing(read_adapter(adapter_path), model)
    phrases, _ = Speller(core.tokenizer).spell(PHRASES)
    entries = exact.entries(phrases)
    features = np.random.default_rng(4).integers(-128, 128, (4, 120)).astype(np.int8)
    encoded = model.encode(torch.from_numpy(features)[None])[0]
    with open_device(engine, config) as device:
        driver = BiasedDriver(device, compile_biased(untrained_checkpoint, adapter_path, config))
        driver.set_catalogue(phrases)
        np.testing.assert_array_equal(driver.entries.keys, entries.keys)
        np.testing.assert_array_equal(driver.entries.values, entries.values)
        driver.reset()
        for t in range(2):
            slot = driver.encode(features[2 * t : 2 * t + 2])
            for context in CONTEXTS:
                given = torch.tensor([context])
                predicted, asked = model.predict(given), exact.label_query(given)
                made = exact.logits(encoded[t][None], predicted, asked, entries)[0].numpy()
                np.testing.assert_array_equal(driver.joint(slot, context), made)
                assert (made != model.logits(encoded[t][None], predicted)[0].numpy()).any()


def test_entries_do_not_depend_on_what_is_encoded_beside_them(core, adapter_path):
    phrases, _ = Speller(core.tokenizer).spell(PHRASES)
    whole = ExactBiasing(read_adapter(adapter_path), ExactTransducer(core)).entries(phrases)
    alone = ExactBiasing(read_adapter(adapter_path), ExactTransducer(core))
    made = [alone.entries([phrase]).keys[:, :, 1:] for phrase in phrases]
    np.testing.assert_array_equal(np.concatenate(made, axis=2), whole.keys[:, :, 1:])


def test_fake_quantization_is_within_rounding_of_the_integers(core, tmp_path):
    """What is not rounded in training: pre-activations, scores, tables. Logits are Q7.8."""
    torch.manual_seed(0)
    network = from_checkpoint(core).network()
    adapter = BiasingAdapter(adapter_topology(core.topology, SIZES))
    adapter.rounding = True
    with torch.no_grad():
        adapter.weights["bias"].mul_(3)
        adapter.no_bias.uniform_(-1, 1)
    write_adapter(tmp_path / "b.safetensors", adapter.integers(), core_of(core), {})
    model = ExactTransducer(core)
    exact = ExactBiasing(read_adapter(tmp_path / "b.safetensors"), model)
    phrases, _ = Speller(core.tokenizer).spell(PHRASES)
    rng = np.random.default_rng(5)
    encoded, context = rng.integers(-3000, 3000, (20, 192)), rng.integers(0, 90, (20, 2))
    given, encoded = torch.from_numpy(context), torch.from_numpy(encoded).double()
    predicted = model.predict(given)
    want = exact.logits(encoded, predicted, exact.label_query(given), exact.entries(phrases)) / 256
    with torch.no_grad():
        entries = adapter.catalogue([labels for _, labels in phrases])
        total = ((encoded + predicted) / 2048).float()
        asked = adapter.label_query(embedded_context(network, given)[:, 2])
        biased = total + adapter.bias(adapter.query(total, asked), entries)
        made = torch.tanh(biased).mul(128).round().clamp(-128, 127).div(128)
        made = torch.nn.functional.linear(made, *network.matrix("joint.output"))
    unbiased = model.logits(encoded, predicted) / 256
    assert (want - unbiased).abs().mean() > 0.1
    assert (made - want).abs().mean() < 0.02 * (want - unbiased).abs().mean()
    assert (made - want).abs().max() < 0.15


def test_a_checkpoint_holds_what_was_written(core, tmp_path):
    topology, path = adapter_topology(core.topology, SIZES), tmp_path / "folder" / "b.safetensors"
    adapter = untrained_adapter(topology)
    write_adapter(path, adapter, core_of(core), {"name": "b", "provenance": {"seed": 1}})
    found = read_adapter(path)
    assert found.topology == topology and found.header["provenance"] == {"seed": 1}
    assert found.header["core"] == core_of(core)
    np.testing.assert_array_equal(found.pieces, adapter.pieces)
    np.testing.assert_array_equal(found.no_bias, adapter.no_bias)
    for name, matrix in adapter.matrices.items():
        for part in ("weight", "bias", "multiplier", "shift"):
            np.testing.assert_array_equal(getattr(found.matrices[name], part), getattr(matrix, part))
    card = write_card(path, {"wer": 1})
    assert card.name == "b.json" and '"wer": 1' in card.read_text()
    assert sorted(p.name for p in path.parent.iterdir()) == ["b.json", "b.safetensors"]


def test_an_adapter_that_could_not_be_read_is_not_written(core, tmp_path):
    adapter = untrained_adapter(adapter_topology(core.topology, SIZES))
    adapter.matrices[LSTM].weight[0, 0] = -128
    path = tmp_path / "b.safetensors"
    path.write_text("as it was")
    with pytest.raises(ValueError, match="holds -128"):
        write_adapter(path, adapter, core_of(core), {})
    assert [p.read_text() for p in tmp_path.iterdir()] == ["as it was"]


def test_sizes_that_an_adapter_has_not(core):
    with pytest.raises(ValueError, match="no depth"):
        adapter_topology(core.topology, {"depth": 2})
