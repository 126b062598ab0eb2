"""Loading weights: only from safetensors, every tensor in its place, and every failure as one sentence.

Libraries draw missing weights at random, with a warning; here that is an error that names the key of the config.
"""

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from nepotism.data.user_files import first_of, once
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import POINTER_ADVICE, head_of, is_pointer, mismatches

logger = logging.getLogger(__name__)

# How files of weights begin in the folders of either library.
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
# Weights of half the size, which are taken where there are no others.
VARIANTS = ("fp16", "bf16")
# What torch.compile and DataParallel put before the names of what they wrap.
_WRAPPED = re.compile(r"(?:^|\.)((?:(?:module|_orig_mod)\.)+)")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# How pickled weights of full precision are called where those in safetensors begin so.
_PICKLED_STEMS = {DIFFUSERS: "diffusion_pytorch_model", TRANSFORMERS: "pytorch_model"}
_ANOTHER = "Take the weights and the config.json of one and the same model"
OTHER_SETTINGS = "They were made with other settings: delete their file to regenerate it"

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """The safetensors files of one model, one or several shards, and their variant; None is full precision."""

    files: list[Path]
    variant: str | None


def find(folder: Path, begins: str, key: str, model: Path | None = None) -> Weights:
    """The weights of a model's folder, with their files known to be whole.

    Args:
        folder: of the model.
        begins: how its files of weights begin, `DIFFUSERS` or `TRANSFORMERS`.
        key: of the config, for messages.
        model: the folder that the config names, if ``folder`` is a part of it.

    Raises:
        UserError: if there are none, one is a pointer of Git LFS or cut off, or those of full precision are pickled.
    """
    if not folder.is_dir():
        raise UserError(f"`{key}`: there is no folder {folder}")
    for variant in (None, *VARIANTS):
        dotted = f".{variant}" if variant else ""
        one, index = folder / f"{begins}{dotted}.safetensors", folder / f"{begins}.safetensors.index{dotted}.json"
        if one.exists() and index.exists():
            raise UserError(f"`{key}`: {folder} has both {one.name} and {index.name}; remove the one that is not meant")
        if not any(file.exists() or file.is_symlink() for file in (one, index)):
            continue
        if variant and (pickled := full_but_pickled(folder, begins)):
            raise UserError(
                f"`{key}`: {folder} has weights of full precision only as {pickled[0].name}, beside those of {variant}; "
                f"{_convert(pickled[0].name, model or folder)}. If those of {variant} are meant, remove the others"
            )
        if variant:
            logger.info("%s: only %s weights are there, and taken", folder, variant)
        if one.exists() or one.is_symlink():
            names_of_tensors(one, key)
            return Weights([one], variant)
        return Weights(_shards(index, key), variant)
    raise UserError(f"`{key}`: {folder} has no {begins}.safetensors; {_instead(folder, model or folder)}")


def full_but_pickled(folder: Path, begins: str) -> list[Path]:
    """Files of a model's pickled weights of full precision; empty if it has none, or has such in safetensors.

    Args:
        folder: of the model.
        begins: as `find` has it.
    """
    if any((folder / f"{begins}.safetensors{end}").exists() for end in ("", ".index.json")):
        return []
    stem = _PICKLED_STEMS[begins]
    return sorted(file for end in (".bin", "-*-of-*.bin") for file in folder.glob(f"{stem}{end}"))


def _shards(index: Path, key: str) -> list[Path]:
    promised: dict[str, set[str]] = {}
    for name, file in read_json(index, key).get("weight_map", {}).items():
        promised.setdefault(str(file), set()).add(name)
    if not promised:
        raise UserError(f"`{key}`: {index} lists no weights; fetch it again")
    for file, names in promised.items():
        if wrong := names ^ names_of_tensors(index.parent / file, key):
            raise UserError(
                f"`{key}`: {index.parent / file} does not hold what {index.name} says: {_some(wrong)}; fetch both again"
            )
    return [index.parent / file for file in sorted(promised)]


def names_of_tensors(file: Path, key: str) -> set[str]:
    """The names of the tensors in a safetensors file, which is known to be whole then.

    Raises:
        UserError: if it is none, naming it.
    """
    _check_there(file, key)
    try:
        with safe_open(file, "pt") as tensors:
            return set(tensors.keys())
    except SafetensorError as error:
        raise UserError(
            f"`{key}`: {file} is no whole safetensors file ({_line(error)}); its download may have ended early: fetch it again"
        ) from None


def read_json(file: Path, key: str) -> dict[str, Any]:
    """A JSON object of a model's folder.

    Raises:
        UserError: if it is missing or none, or has a key twice, naming it.
    """
    _check_there(file, key)
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=once)
    except ValueError as error:
        raise UserError(f"`{key}`: {file} cannot be read as JSON ({_line(error)}); mend it or fetch it again") from None
    if not isinstance(content, dict):
        raise UserError(f"`{key}`: {file} holds no JSON object; fetch it again")
    return content


def _check_there(file: Path, key: str) -> None:
    if file.is_symlink() and not file.exists():
        raise UserError(
            f"`{key}`: {file} is a link to nothing; a download that was not finished leaves such: fetch it again"
        )
    if not file.is_file():
        raise UserError(f"`{key}`: there is no {file}")
    if is_pointer(head_of(file)):
        raise UserError(f"`{key}`: {file}: {POINTER_ADVICE}")


def _instead(folder: Path, model: Path) -> str:
    """What to do about a folder without weights that can be loaded."""
    if pickled := [file.name for pattern in _PICKLED for file in sorted(folder.glob(pattern))]:
        return _convert(pickled[0], model)
    if others := sorted(file.name for file in folder.glob("*.safetensors")):
        return f"it has {_some(others)}, which are others: a model in the format of diffusers or transformers is wanted"
    return "copy the model's folder again, whole"


def _convert(pickled: str, model: Path) -> str:
    return (
        f"pickled weights ({pickled}) can run code and are not loaded. Convert them once: python "
        f"scripts/convert_weights.py {model} --output FOLDER, and name that folder in the config"
    )


def stem(model_class: Any) -> str:
    """How the files of weights of a class begin: `DIFFUSERS` or `TRANSFORMERS`."""
    # Diffusers has classes of its own of a transformers model.
    libraries = {each.__module__.split(".")[0] for each in model_class.__mro__}
    return TRANSFORMERS if "transformers" in libraries else DIFFUSERS


def load_model(
    model_class: Any, folder: Path, key: str, model: Path | None = None, pickled: bool = False, **options: Any
) -> Any:
    """A model of diffusers or transformers, with all of its weights and no others; only tied ones may lack.

    Args:
        model_class: of the library.
        folder: of the model.
        key: of the config, for messages.
        model: the folder that the config names, if ``folder`` is a part of it.
        pickled: read pickled weights instead, to convert them; nothing but tensors.
        options: of ``from_pretrained``; ``dtype`` is that of all weights.

    Raises:
        UserError: if it cannot be loaded, or its weights do not fit its config.json or are no numbers.
    """
    weights = Weights([], None) if pickled else find(folder, stem(model_class), key, model)
    read_json(folder / "config.json", key)
    with _quiet(), readable(key, folder):
        loaded, info = model_class.from_pretrained(
            folder, use_safetensors=not pickled, local_files_only=True, variant=weights.variant, output_loading_info=True,
            # Told with all others below.
            ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
    where = str(weights.files[0] if len(weights.files) == 1 else folder)
    _check_fit(f"`{key}`: {where}", info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"], _ANOTHER)
    stored = {value.dtype for value in loaded.state_dict().values() if value.is_floating_point()}
    if (wanted := options.get("dtype")) and stored != {wanted} and stem(model_class) == DIFFUSERS:
        # Its shards may have kept the precision in which they are stored; what transformers leaves in fp32 overflows in fp16.
        loaded = loaded.to(wanted)
    _check_finite(f"`{key}`: {where}", loaded)
    return loaded


def fill(
    network: Network, tensors: Mapping[str, Tensor], what: str, advice: str = _ANOTHER, tied: Collection[str] = ()
) -> Network:
    """Give a network its weights: all of them and no others.

    Args:
        network: gets them, and is returned.
        tensors: by name.
        what: these are, for messages.
        advice: what to do if they do not fit.
        tied: names that may lack.

    Raises:
        UserError: if they do not fit, or are no numbers.
    """
    wanted = network.state_dict()
    mismatched = {
        (name, tuple(value.shape), tuple(wanted[name].shape))
        for name, value in tensors.items()
        if name in wanted and value.shape != wanted[name].shape
    }
    wrong = {name for name, _, _ in mismatched}
    # Torch knows which of its own buffers old files lack.
    found = network.load_state_dict({name: value for name, value in tensors.items() if name not in wrong}, strict=False)
    _check_fit(what, set(found.missing_keys) - wrong - set(tied), found.unexpected_keys, mismatched, advice)
    _check_finite(what, network)
    return network


def check_shapes(what: str, wanted: Mapping[str, torch.Size], found: Mapping[str, Tensor], advice: str) -> None:
    """Check that named tensors are all that are wanted, and no others.

    Raises:
        UserError: if not.
    """
    mismatched = [
        (name, value.shape, wanted[name])
        for name, value in found.items()
        if name in wanted and value.shape != wanted[name]
    ]
    _check_fit(what, wanted.keys() - found.keys(), found.keys() - wanted.keys(), mismatched, advice)


def tokenizer(tokenizer_class: Any, folder: Path, key: str) -> Any:
    """A tokenizer of transformers, with its vocabulary: without its files, the library makes one of three words.

    Raises:
        UserError: if files are missing or it cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"`{key}`: there is no folder {folder}")
    for file in (*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model")):
        _check_there(file, key)
    with _quiet(), readable(key, folder):
        made = tokenizer_class.from_pretrained(folder, local_files_only=True)
    names = {**made.vocab_files_names}
    whole = names.pop("tokenizer_file", "tokenizer.json")
    if not (folder / whole).is_file() and not (names and all((folder / name).is_file() for name in names.values())):
        wanted = " or ".join(filter(None, [whole, " and ".join(names.values())]))
        raise UserError(
            f"`{key}`: {folder} has no vocabulary of its tokenizer: {wanted}; copy the model's folder again, whole"
        )
    return made


def check_sums(folder: Path, key: str) -> None:
    """Check a folder against its SHA256SUMS, if it has such.

    Raises:
        UserError: naming the first file that is missing or differs.
    """
    if wrong := mismatches(folder):
        raise UserError(f"`{key}`: {folder / wrong[0]} is missing or does not match SHA256SUMS; fetch it again")


@contextmanager
def readable(key: str, where: Path) -> Iterator[None]:
    """Inside, whatever a library raises about a file becomes one line that names the config's key."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError, PermissionError):
        # What is not the file's fault has its own advice.
        raise
    except Exception as error:
        raise UserError(f"`{key}`: {where} cannot be loaded ({_line(error)})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, libraries log nothing about weights: what they would warn of is raised in their stead."""
    transformers_logging.disable_progress_bar()
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _check_fit(
    what: str, missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[tuple[str, Any, Any]], advice: str
) -> None:  # fmt: skip
    missing, unexpected = set(missing), set(unexpected)
    faults = [f"lacks {_some(missing)}"] if missing else []
    faults += [f"has {_some(unexpected)}, of which the network knows nothing"] if unexpected else []
    faults += [
        f"has {name} of shape {tuple(found)} where {tuple(wanted)} is wanted"
        for name, found, wanted in sorted(mismatched)[:1]
    ]
    if not faults:
        return
    if wrapped := {match[1] for name in unexpected if (match := _WRAPPED.search(name))}:
        advice = (
            "It was saved from a compiled or parallel model: strip the prefix "
            f"{' or '.join(f'`{prefix}`' for prefix in sorted(wrapped))} from the names of its tensors"
        )
    raise UserError(f"{what} {'; it '.join(faults)}. {advice}")


def _check_finite(what: str, network: nn.Module) -> None:
    for name, value in network.state_dict().items():
        # One pass, and no copy: a minimum of what is no number is none.
        if value.is_floating_point() and value.numel() and not torch.stack(torch.aminmax(value)).isfinite().all():
            raise UserError(
                f"{what}: {name} has values that are no numbers in {str(value.dtype).removeprefix('torch.')}; "
                "fetch it again, or use more bits if they are few"
            )


def _some(names: Iterable[str]) -> str:
    return ", ".join(first_of(sorted(set(names)), 3))


def _line(error: Exception) -> str:
    """What an error says, as one line of readable length."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 300 else said[:300] + " ..."
