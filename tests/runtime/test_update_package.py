"""The update file: what the trusted key did not sign as it stands is refused, whatever was changed."""

from __future__ import annotations

import numpy as np
import pytest
from ossicle.runtime.update import delta, package
from ossicle.runtime.update.package import HEADER, SIGNATURE_BYTES, UpdateError, restore, seal, unseal
from small_checkpoints import checkpoint, content, tuned

pytest.importorskip("cryptography", reason='needs pip install "ossicle[update]"')


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    before = checkpoint(rng)
    after = tuned(rng, before) | {"tokenizer": rng.integers(0, 256, 300).astype(np.uint8)}
    return content(before), content(after)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "update.key"
    path.write_bytes(package.new_keys()[0])
    return package.read_private(path)


@pytest.fixture(scope="module")
def update(models, key):
    return seal("small", *models, delta.make(*models), key)


def test_there_and_back(models, key, update):
    found = unseal(update, key.public_key())
    assert restore(found, models[0]) == models[1]
    assert found.key == package.fingerprint(key.public_key())


def test_a_flipped_bit_anywhere(key, update):
    _, _, manifest_bytes, _ = HEADER.unpack_from(update)
    parts = [0, 8, 12, 16, HEADER.size, HEADER.size + manifest_bytes - 1, HEADER.size + manifest_bytes]
    sections = len(update) - SIGNATURE_BYTES
    places = [*parts, *range(HEADER.size + manifest_bytes, sections, 97), sections, len(update) - 1]
    for place in places:
        damaged = bytearray(update)
        damaged[place] ^= 1
        with pytest.raises(UpdateError):
            unseal(bytes(damaged), key.public_key())


def test_cut_off_anywhere_or_longer(key, update):
    for end in {0, 7, HEADER.size - 1, HEADER.size, *range(HEADER.size, len(update), 101), len(update) - 1}:
        with pytest.raises(UpdateError):
            unseal(update[:end], key.public_key())
    with pytest.raises(UpdateError, match="cut off or damaged"):
        unseal(update + b"\0", key.public_key())


def test_another_key(tmp_path, update):
    path = tmp_path / "other.pub"
    path.write_bytes(package.new_keys()[1])
    with pytest.raises(UpdateError, match="not of the trusted key"):
        unseal(update, package.read_public(path))


def test_another_version(key, update):
    with pytest.raises(UpdateError, match=r"of version 2; this Ossicle reads version 1"):
        unseal(update[:8] + b"\2" + update[9:], key.public_key())


def test_another_old_model(models, key, update):
    with pytest.raises(UpdateError, match="the update is of a model with SHA-256"):
        restore(unseal(update, key.public_key()), models[1])


@pytest.mark.parametrize("section", delta.SECTIONS)
def test_a_signed_fault_gives_no_model(models, key, section):
    """What the signer got wrong is found by the SHA-256 of the new model."""
    sections = delta.make(*models)
    body = bytearray(sections[section])
    body[len(body) // 2] ^= 0x40
    sealed = seal("small", *models, sections | {section: bytes(body)}, key)
    with pytest.raises(UpdateError, match="make the update again"):
        restore(unseal(sealed, key.public_key()), models[0])


def test_keys_of_another_kind(tmp_path):
    private, public = package.new_keys()
    for read, body in [
        (package.read_private, public), (package.read_public, private), (package.read_public, b"x"),
    ]:  # fmt: skip
        path = tmp_path / "k"
        path.write_bytes(body)
        with pytest.raises(UpdateError, match="see ossicle update keygen"):
            read(path)
    with pytest.raises(UpdateError, match="cannot be read"):
        package.read_private(tmp_path / "none")
