"""ossicle update: what changed in a model, signed; put in its place, and taken back."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import (
    Failure,
    JsonOption,
    check_output,
    print_json,
    print_table,
    progress_bar,
    write_whole,
)
from ossicle.runtime.programs import DEFAULT_NPU
from ossicle.runtime.update import delta, layout, package, peers
from ossicle.runtime.update.health import health_check
from ossicle.runtime.update.install import Installation, digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SUFFIX = ".update"

update = typer.Typer(help="Make, apply and take back updates of a model.", no_args_is_help=True)

NpuOption = Annotated[
    str,
    typer.Option(
        "--npu", metavar="NAME|FILE", help="What it is compiled for: small, base, large, or a file."
    ),
]
InstalledArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="The checkpoint in use.")]


@update.command()
def keygen(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help=f"Where {package.PRIVATE} and {package.PUBLIC} go.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Make a pair of keys: the private one signs updates, the public one goes to the devices."""
    _need_cryptography()
    private, public = folder / package.PRIVATE, folder / package.PUBLIC
    for path in (private, public):
        if path.exists():
            raise Failure(f"{path} is there already; name another folder, or remove the old pair")
    folder.mkdir(parents=True, exist_ok=True)
    texts = package.new_keys()
    private.touch(mode=0o600)
    private.write_bytes(texts[0])
    write_whole(public, texts[1])
    key = package.fingerprint(package.read_public(public))
    if as_json:
        print_json({"private": private, "public": public, "key": key})
    else:
        print(f"{private}: keep it secret; {public}: give it to the devices (key {key})")


@update.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The checkpoint that devices have.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The checkpoint that they are to have.")],
    key: Annotated[Path | None, typer.Option(help="The private key to sign with.", metavar="FILE")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"The update to write; default: NEW with {SUFFIX}.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Bytes beside the whole model, zstd and bsdiff.")
    ] = False,
    npu: NpuOption = DEFAULT_NPU,
    as_json: JsonOption = False,
) -> None:
    """Make the update that leads from one checkpoint to another."""
    if key is None and not compare:
        raise Failure("an update is signed: name a private key with --key (see ossicle update keygen)")
    if key is None and output is not None:
        raise Failure(f"{output}: an update is signed: name a private key with --key")
    target = output or new.with_suffix(SUFFIX)
    signer = None
    if key:
        _need_cryptography()
        signer = package.read_private(key)
        check_output(target)
    config = NpuConfig.load(npu)
    before, after = _checkpoint(old), _checkpoint(new)
    with progress_bar(as_json) as bar:
        bar.task(f"coding what {new} has and {old} has not")
        sections = delta.make(before, after, bar.step)
        bar.task("checking that it gives the new model")
        if delta.restore(before, sections, bar.step) != after:
            raise RuntimeError(f"the update does not give {new}; please report this")
        parts = {name: len(body) for name, body in sections.items()}
        found = {"old": old, "new": new, "bytes": sum(parts.values()), "sections": parts}
        if signer:
            content = package.seal(new.stem, before, after, sections, signer)
            write_whole(target, content)
            found |= {"update": target, "bytes": len(content)}
        if compare:
            bar.task("measuring the whole model and other tools")
            found |= _comparison(found["bytes"], before, after, new, config)
    if as_json:
        print_json(found)
        return
    if compare:
        print_table(f"{old} -> {new}", found["rows"])
    if signer:
        print(f"{target}: {found['bytes']:,} bytes, signed by {package.fingerprint(signer.public_key())}")


def _comparison(size: int, old: bytes, new: bytes, path: Path, config: NpuConfig) -> dict:
    """Bytes of each way, the whole model's smallest form as the measure."""
    whole, others = peers.whole_sizes(path, config), peers.peer_sizes(old, new)
    least = min(whole.values())
    sizes = {f"whole, {name}": value for name, value in whole.items()} | {"update": size} | others
    rows = [
        {"what": name, "bytes": value, "of the whole": round(value / least, 4)}
        for name, value in sizes.items()
    ]
    return {"whole": least, "ratio_to_whole": round(size / least, 4), "peers": others, "rows": rows}


@update.command()
def apply(
    model: InstalledArgument,
    file: Annotated[Path, typer.Argument(metavar="UPDATE", help="What ossicle update diff made.")],
    trust: Annotated[Path, typer.Option(metavar="FILE", help="The public key that must have signed it.")],
    check: Annotated[
        tuple[Path, str] | None,
        typer.Option(metavar="AUDIO TEXT", help="A recording, and what the new model must hear in it."),
    ] = None,
    npu: NpuOption = DEFAULT_NPU,
    as_json: JsonOption = False,
) -> None:
    """Put the new model in place of MODEL; back to the old one if it fails its check (exit status 1).

    Broken off at any moment, it leaves the old model or the new one; the same command again ends it.
    """
    _need_cryptography()
    trusted = package.read_public(trust)
    found, place = _update(file, trusted), Installation(model)
    if not model.is_file():
        raise Failure(f"{model}: no such file")
    healthy = health_check(NpuConfig.load(npu), *(check or ()))
    if not place.journal.exists() and digest(model) not in (found.old.sha256, found.new.sha256):
        package.restore(found, model.read_bytes())  # says which model it is of
    with progress_bar(as_json) as bar, place.locked():
        bar.task(f"checking {model}")
        place.resume(healthy)
        done = digest(model) != found.new.sha256
        if done:
            bar.task(f"decoding {file}")
            new = package.restore(found, model.read_bytes(), bar.step)
            bar.task(f"checking {model}")
            place.apply(new, healthy)
    if as_json:
        print_json({"model": model, "applied": done, "sha256": found.new.sha256})
    else:
        print(f"{model}: {'updated' if done else 'is that model already'} ({found.new.sha256[:16]}…)")


@update.command()
def rollback(model: InstalledArgument, as_json: JsonOption = False) -> None:
    """Put the model before the last update back in place."""
    place = Installation(model)
    if not place.folder.is_dir():
        raise Failure(f"{model}: no model before it is kept; nothing to go back to")
    with place.locked():
        restored = place.roll_back()
    if as_json:
        print_json({"model": model, "sha256": restored})
    else:
        print(f"{model}: the model before the last update is back ({restored[:16]}…)")


def _checkpoint(path: Path) -> bytes:
    if not path.is_file():
        raise Failure(f"{path}: {'a folder, not a checkpoint' if path.is_dir() else 'no such file'}")
    content = path.read_bytes()
    try:
        layout.split(content)
    except layout.LayoutError as error:
        raise Failure(f"{path}: {error}; updates are of .safetensors checkpoints") from None
    return content


def _update(path: Path, trusted: Ed25519PublicKey) -> package.Update:
    if not path.is_file():
        raise Failure(f"{path}: {'a folder, not an update' if path.is_dir() else 'no such file'}")
    try:
        return package.unseal(path.read_bytes(), trusted)
    except package.UpdateError as error:
        raise Failure(f"{path}: {error}") from None


def _need_cryptography() -> None:
    if find_spec("cryptography") is None:
        raise Failure('signatures need the package cryptography: pip install "ossicle[update]"')
