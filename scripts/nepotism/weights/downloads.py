"""Where weights and data are downloaded from: the Hugging Face hub, clean-fid, torchvision.

Only safetensors are taken, and small text files; what can run code when it is loaded is refused, but for the files that
`nepotism.weights.locations` names.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from nepotism.data.user_files import first_of
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import sha256
from nepotism.weights.locations import CLEAN_FID_SHA256, Hub, hub
from nepotism.weights.staging import from_network

logger = logging.getLogger(__name__)

# Of a pipeline or a CLIP model: configurations, tokenizers and full-precision weights.
WANTED = ("*.json", "*.txt", "*model.safetensors", "*model-*-of-*.safetensors", "*.safetensors.index.json")
# Taken only where there is nothing else.
HALF_PRECISION = ("*model.fp16.safetensors", "*model.fp16-*-of-*.safetensors", "*.safetensors.index.fp16.json")
UNWANTED = ("safety_checker/*", "feature_extractor/*", "*.fp16.*", "*non_ema*", "flax*", "onnx/*")


def fetcher(source: str) -> Callable[[Path], None]:
    """What downloads a source.

    Raises:
        UserError: if it is no download, or one of another script.
    """
    named = hub(source)
    if named:
        return lambda folder: _from_hub(named, folder)
    if source not in _OTHERS:
        raise UserError(
            f"{source} is no download; it may be hub: or dataset:<organisation>/<repository>@<revision>, {', '.join(_OTHERS)}"
        )

    def download(folder: Path) -> None:
        with from_network(source):
            _OTHERS[source](folder)

    return download


def snapshot(source: Hub, wanted: Sequence[str], unwanted: Sequence[str] = UNWANTED) -> tuple[Path, list[str]]:
    """Files of a repository in the hub's cache: its folder there, and their names.

    Args:
        source: of the hub.
        wanted, unwanted: patterns of names.

    Raises:
        UserError: if they cannot be had, with what to do.
    """
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    where = _told(source)
    patterns = {"allow_patterns": list(wanted), "ignore_patterns": list(unwanted)}
    try:
        kind = "dataset" if source.is_data else "model"
        folder = Path(snapshot_download(source.repository, revision=source.revision, repo_type=kind, **patterns))
    except hub_errors.GatedRepoError:
        raise UserError(
            f"{where}: its licence must be accepted on the hub's page first; then log in on this machine with `hf auth login`"
        ) from None
    except hub_errors.RevisionNotFoundError:
        raise UserError(f"{where}: the repository has no such revision; take the commit of its page `Files`") from None
    except hub_errors.RepositoryNotFoundError:
        raise UserError(
            f"{where}: no such repository, or a private one. Check the id (stabilityai's are gone: sd2-community mirrors them), "
            "or log in with `hf auth login`"
        ) from None
    except (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled):
        raise UserError(
            f"{where}: it is not in the cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set). Stage it where the "
            "network is, usually the head node (HF_ENDPOINT names a mirror), or give the path of a copy instead"
        ) from None
    except (hub_errors.HfHubHTTPError, OSError) as error:
        raise UserError(f"{where}: the download failed: {error}. Run the same command again: it goes on") from None
    # The cache may hold other files of the repository, which others had asked for.
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return folder, list(filter_repo_objects(names, **patterns))


def _told(source: Hub) -> str:
    return f"{source.repository} at revision {source.revision}"


def _from_hub(source: Hub, folder: Path) -> None:
    where = _told(source)
    cached, names = snapshot(source, _data_of(source) if source.is_data else WANTED)
    _check_commit(source, cached.name)
    _take_all(cached, names if source.is_data else _of_pipeline(cached, names), folder, where)
    if source.is_data:
        if not any(folder.rglob("*.parquet")):
            raise UserError(
                f"{where}: it has no Parquet files {f'in {source.folder}' if source.folder else ''}; give the folder that has"
            )
    else:
        _take_half_precision(source, folder)
        _check_weights(where, folder, source)


def _of_pipeline(cached: Path, names: Sequence[str]) -> list[str]:
    """Of a pipeline's files, those of parts that its index names: beside them lie copies for other programs, without weights.

    All files of what is no pipeline.
    """
    if "model_index.json" not in names:
        return list(names)
    try:
        index = json.loads((cached / "model_index.json").read_text(encoding="utf-8"))
    except ValueError:
        # Told when it is loaded.
        return list(names)
    parts = {part for part, entry in index.items() if isinstance(entry, list) and any(entry)}
    return [name for name in names if len(Path(name).parts) == 1 or Path(name).parts[0] in parts]


def _take_half_precision(source: Hub, folder: Path) -> None:
    """Where a model of the repository has no weights of full precision, take those of 16 bits."""
    prefixes = [
        "" if model == folder else f"{model.relative_to(folder)}/"
        for model in sorted({file.parent for file in folder.rglob("config.json")})
        if not list(model.glob("*.safetensors"))
    ]
    if prefixes:
        wanted = [prefix + pattern for prefix in prefixes for pattern in HALF_PRECISION]
        cached, names = snapshot(source, wanted, ())
        if names:
            logger.warning(
                "warning: %s has weights of 16 bits only in safetensors (%s); if it has pickled ones of full precision, "
                "scripts/convert_weights.py converts them", _told(source), ", ".join(first_of(names)),
            )  # fmt: skip
        _take_all(cached, names, folder, _told(source))


def _take_all(cached: Path, names: Sequence[str], folder: Path, where: str) -> None:
    for name in names:
        _take(cached / name, folder / name, where)


def _data_of(source: Hub) -> list[str]:
    return [f"{source.folder}/*.parquet" if source.folder else "*.parquet"]


def _check_commit(source: Hub, commit: str) -> None:
    if source.revision != commit:
        logger.warning(
            "warning: revision '%s' may move; today it is commit %s: write %s to pin it",
            source.revision, commit, source.at(commit),
        )  # fmt: skip


def _take(file: Path, target: Path, where: str) -> None:
    """Link or copy a file of the hub's cache. Large files are named there by the SHA-256 that the hub promised."""
    stored = file.resolve()
    promised = stored.name
    if len(promised) == 64 and set(promised) <= set("0123456789abcdef") and sha256(stored) != promised:
        raise UserError(
            f"{where}: {file.name} in the cache does not match the hub's checksum; delete {stored} and try again"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(stored, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(stored, target)


def _check_weights(where: str, folder: Path, source: Hub) -> None:
    """Check that every model of the folder has safetensors weights."""
    models = [file.parent for file in folder.rglob("config.json")]
    if not models:
        raise UserError(f"{where}: it has no config.json, so it is no model in the format of diffusers or transformers")
    for model in models:
        if not list(model.glob("*.safetensors")):
            part = model.relative_to(folder)
            raise UserError(
                f"{where}: {'it' if part == Path() else part} has no safetensors weights; pickled ones can run code and are not "
                f"loaded. Convert them once: python scripts/convert_weights.py {source.at(source.revision)} "
                "--output FOLDER, and give that folder instead of `hub:`"
            )


def _clean_fid(folder: Path) -> None:
    from cleanfid.downloads_helper import check_download_inception

    file = Path(check_download_inception(str(folder)))
    if (found := sha256(file)) != CLEAN_FID_SHA256:
        raise UserError(f"clean-fid's Inception: the file has sha256 {found}, not {CLEAN_FID_SHA256}; it is not used")


def _torchvision(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import Inception_V3_Weights

    # The first digits of its checksum are part of its name.
    weights = torch.hub.load_state_dict_from_url(
        Inception_V3_Weights.IMAGENET1K_V1.url, str(folder), check_hash=True, weights_only=True, map_location="cpu"
    )
    for pickle in folder.iterdir():
        pickle.unlink()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "inception_v3.safetensors")


_OTHERS: dict[str, Callable[[Path], None]] = {"clean-fid": _clean_fid, "torchvision": _torchvision}
