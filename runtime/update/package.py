"""The update file, and who may make one: Ed25519 (RFC 8032) over every byte before the signature.

    file     = magic 8 | version u32 | bytes of the manifest u32 | bytes of the sections u64
             | manifest, JSON | sections, in the order of the manifest | signature 64
    manifest = {"name", "old": {"sha256", "bytes"}, "new": {"sha256", "bytes"}, "sections": {name: bytes},
                "key"}

Integers are little-endian. `key` is the fingerprint of the public key, to say which one is missing; what is
trusted is the key that the device was given.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ossicle.runtime.update import delta
from ossicle.runtime.update.coder import CodingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Key = TypeVar("Key")

MAGIC, VERSION = b"OSSUPDT\0", 1
HEADER = struct.Struct("<8sIIQ")
SIGNATURE_BYTES = 64
PRIVATE, PUBLIC = "update.key", "update.pub"


class UpdateError(ValueError):
    """An update that must not be used; one sentence that says why."""


@dataclass(frozen=True)
class Identity:
    """Which file: its SHA-256, in hexadecimal, and length."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, content: bytes) -> Identity:
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class Update:
    """A verified update: from which model to which, and the sections of `delta`."""

    name: str
    old: Identity
    new: Identity
    sections: dict[str, bytes]
    key: str


def seal(name: str, old: bytes, new: bytes, sections: dict[str, bytes], key: Ed25519PrivateKey) -> bytes:
    """The update file that leads from `old` to `new`, signed."""
    manifest = {
        "name": name, "old": asdict(Identity.of(old)), "new": asdict(Identity.of(new)),
        "sections": {title: len(sections[title]) for title in delta.SECTIONS},
        "key": fingerprint(key.public_key()),
    }  # fmt: skip
    text = json.dumps(manifest, separators=(",", ":")).encode()
    body = b"".join(sections[title] for title in delta.SECTIONS)
    signed = HEADER.pack(MAGIC, VERSION, len(text), len(body)) + text + body
    return signed + key.sign(signed)


def unseal(content: bytes, trusted: Ed25519PublicKey) -> Update:
    """Check the signature, then read.

    Raises:
        UpdateError: no update, cut off, of another version, or not signed by the trusted key as it stands.
    """
    from cryptography.exceptions import InvalidSignature

    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise UpdateError("not an update of Ossicle (it does not begin with OSSUPDT)")
    _, version, manifest_bytes, body_bytes = HEADER.unpack_from(content)
    if version != VERSION:
        raise UpdateError(f"an update of version {version}; this Ossicle reads version {VERSION}")
    end = HEADER.size + manifest_bytes + body_bytes
    if len(content) != end + SIGNATURE_BYTES:
        raise UpdateError(
            f"cut off or damaged: {len(content)} bytes, not {end + SIGNATURE_BYTES}; fetch it again"
        )
    try:
        trusted.verify(content[end:], content[:end])
    except InvalidSignature:
        raise UpdateError(
            f"the signature is not of the trusted key {fingerprint(trusted)}: damaged, or signed by another"
        ) from None
    return _read(content[HEADER.size : end], manifest_bytes)


def _read(content: bytes, manifest_bytes: int) -> Update:
    """Manifest and sections; signed, so that a fault here is the signer's."""
    try:
        manifest = json.loads(content[:manifest_bytes])
        sizes = {title: int(manifest["sections"][title]) for title in delta.SECTIONS}
        old, new = Identity(**manifest["old"]), Identity(**manifest["new"])
        name, key = manifest["name"], manifest["key"]
    except (ValueError, KeyError, TypeError) as error:
        raise UpdateError(
            f"the manifest is not of version {VERSION} ({error}); make the update again"
        ) from None
    if sum(sizes.values()) != len(content) - manifest_bytes or min(sizes.values()) < 0:
        raise UpdateError("the manifest's sections are not those that follow it; make the update again")
    sections, at = {}, manifest_bytes
    for title, size in sizes.items():
        sections[title] = content[at : at + size]
        at += size
    return Update(name, old, new, sections, key)


def restore(
    update: Update, old: bytes, progress: Callable[[int, int], None] = lambda done, total: None
) -> bytes:
    """The new model.

    Raises:
        UpdateError: another old model than the update's, or sections that do not give the signed one.
    """
    if Identity.of(old) != update.old:
        raise UpdateError(
            f"the update is of a model with SHA-256 {update.old.sha256[:16]}…, not of this one "
            f"({Identity.of(old).sha256[:16]}…)"
        )
    try:
        new = delta.restore(old, update.sections, progress)
    except CodingError as error:
        raise UpdateError(f"{error}; make the update again") from None
    if Identity.of(new) != update.new:
        raise UpdateError("what the update gives is not the model that was signed; make the update again")
    return new


def fingerprint(key: Ed25519PublicKey) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the 32 bytes of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def new_keys() -> tuple[bytes, bytes]:
    """A fresh pair, private and public, as PEM (PKCS #8 and SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def read_private(path: Path) -> Ed25519PrivateKey:
    """Raises UpdateError on a file that holds no Ed25519 private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _key(path, "private", lambda content: load_pem_private_key(content, None), Ed25519PrivateKey)


def read_public(path: Path) -> Ed25519PublicKey:
    """Raises UpdateError on a file that holds no Ed25519 public key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _key(path, "public", load_pem_public_key, Ed25519PublicKey)


def _key(path: Path, kind: str, load: Callable[[bytes], object], wanted: type[Key]) -> Key:
    try:
        key = load(_content(path))
    except (ValueError, TypeError) as error:
        raise UpdateError(f"{path}: no {kind} key in PEM ({error}); see ossicle update keygen") from None
    if not isinstance(key, wanted):
        raise UpdateError(f"{path}: a key of another kind than Ed25519; see ossicle update keygen")
    return key


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UpdateError(f"{path}: cannot be read ({error.strerror})") from None
