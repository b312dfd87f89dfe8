import numpy as np
import pytest
import random_models
from ossicle.compiler.importer import CheckpointError, import_checkpoint, matrix_shapes
from random_models import TINY, write_checkpoint


@pytest.fixture
def whole():
    return random_models.checkpoint(np.random.default_rng(5))


def test_imports_a_whole_checkpoint(whole, tmp_path):
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, *whole)
    graph = import_checkpoint(path)
    assert graph.name == "tiny"
    assert {name: matrix.shape for name, matrix in graph.matrices.items()} == matrix_shapes(TINY)
    assert [op.name for op in graph.routines["encode"].ops] == [
        "encoder.0@0", "encoder.0@1", "encoder.1@0", "encoder.projection",
    ]  # fmt: skip
    assert graph.meta["tokenizer"] == "AAECAwQFBg=="


def changed(whole, name, change):
    header, tensors = whole
    return header, tensors | {name: change(tensors[name].copy())}


def minimum(array):
    array.flat[3] = -128
    return array


def large(array):
    array[0] = (1 << 30) + 1
    return array


def shifted(array):
    array[0] = 48
    return array


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encoder.0.weight", lambda a: a[:, :-1], r"encoder.0.weight is int8 \[48, 31\]; .* int8 \[48, 32\]"),
        ("encoder.1.weight", lambda a: a.astype(np.int16), "is int16"),
        ("encoder.1.weight", minimum, "holds -128"),
        ("joint.output.bias", large, "1073741825; 2.*30 is the limit"),
        ("joint.output.shift", shifted, "holds 48; shifts are 0 to 47"),
        ("joint.output.multiplier", lambda a: a[1:], r"\[30\]"),
        ("prediction.embedding", lambda a: a[:-1], "prediction.embedding is"),
    ],
)
def test_wrong_tensors_are_refused(whole, tmp_path, name, change, message):
    write_checkpoint(tmp_path / "wrong", *changed(whole, name, change))
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "wrong")


@pytest.mark.parametrize(
    "name", ["encoder.0.weight", "prediction.hidden.shift", "tokenizer", "prediction.embedding"]
)
def test_missing_tensors_are_refused(whole, tmp_path, name):
    header, tensors = whole
    del tensors[name]
    write_checkpoint(tmp_path / "wrong", header, tensors)
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        import_checkpoint(tmp_path / "wrong")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format is not ossicle-checkpoint"),
        ({"version": 2}, "version 2; this Ossicle reads version 1"),
        ({"topology": None}, "a topology of kind None"),
        ({"topology": {**TINY, "kind": "ctc"}}, "a topology of kind 'ctc'"),
        ({"topology": {**TINY, "encoder": [{"hidden": 3}]}}, "lacks 'reduce'"),
        ({"topology": {**TINY, "joint": 0}}, r"1 or more, not \[0\]"),
        ({"topology": {**TINY, "encoder": []}}, "1 or more"),
    ],
)
def test_wrong_headers_are_refused(whole, tmp_path, change, message):
    header, tensors = whole
    write_checkpoint(tmp_path / "wrong", header | change, tensors)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "wrong")


@pytest.mark.parametrize(
    ("header", "message"), [(None, "no 'ossicle' header"), ("{", "not JSON"), ("[]", "format")]
)
def test_foreign_headers_are_refused(whole, tmp_path, header, message):
    write_checkpoint(tmp_path / "wrong", header, whole[1])
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "wrong")


def test_foreign_and_truncated_files_are_refused(whole, tmp_path):
    path = tmp_path / "tiny"
    write_checkpoint(path, *whole)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        import_checkpoint(path)
    path.write_text("text")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        import_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such file"):
        import_checkpoint(tmp_path / "absent")
