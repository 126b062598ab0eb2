"""What every command line of the project shares: `--log`, readable errors, one exit code."""

import argparse
import ctypes
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from nepotism.experiment.declared import default_of_key, schema_of_key
from nepotism.experiment.stages import stage_version
from nepotism.runtime.errors import Interrupted, UserError
from nepotism.runtime.files import RUN_BEGINS
from nepotism.runtime.options import add_key, add_keys


def _starts_a_script() -> bool:
    """Whether the process is one of our scripts, and not a program that imports this module as a library."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    return program is not None and Path(program).resolve().parent == Path(__file__).resolve().parents[2]


# What a script imports lives until its end. Looking for garbage in it takes a quarter of the time that torch, diffusers
# and transformers need to start; `run` switches it on again, for what is made from then on: a look through all that was
# imported takes a third of a second. So scripts import this module before those.
if _starts_a_script():
    gc.disable()

# Names and values of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# Options of how many images are held at a time, whatever the result: keys of the config's block `execution`.
BATCHES = ("sample_batch_size", "embed_batch_size", "per_device_batch_size")

# Mistakes that only the file system knows of, and what to do about them.
ADVICE = {
    errno.ENOSPC: "Make room on that disk and run the same command again",
    errno.EDQUOT: "Your quota is used up: make room and run the same command again",
    errno.EACCES: "Give yourself the right to read or write there, or use a folder of your own",
    errno.EROFS: "That file system is read-only; run in a folder that you may write to",
}


def parser(description: str | None, stage: str | None = None) -> argparse.ArgumentParser:
    """An argument parser with the project's common options; with ``stage``, also ``--stage-version``."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--log", type=Path, help="write progress and messages to this file")
    if stage is not None:
        current = stage_version(stage)
        made.add_argument(
            "--stage-version", type=int, choices=[current], default=current, help="version of the algorithm"
        )
    return made


def add_base_model(parser: argparse.ArgumentParser) -> None:
    """``--base-model``."""
    parser.add_argument(
        "--base-model", type=Path, required=True, help="folder of a text-to-image pipeline of diffusers"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--threads``."""
    add_keys(parser, "execution", "device", "threads")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Options of a diffusers pipeline."""
    add_keys(parser, "sample", "guidance_scale", "num_inference_steps", "scheduler", "precision", "guidance_interval")
    add_keys(parser, "execution", "compile", "sample_batch_size")


def add_step_size(parser: argparse.ArgumentParser) -> None:
    """How many images a step of retraining takes, and how devices hold them."""
    add_keys(parser, "finetune", "batch_size")
    add_keys(parser, "execution", "per_device_batch_size", "gradient_checkpointing", "num_processes")


def images_at_a_time(arguments: argparse.Namespace) -> int:
    """How many images one device holds in a step of retraining, by the options of `add_step_size`."""
    of_a_device = -(-arguments.batch_size // arguments.num_processes)
    return int(min(arguments.per_device_batch_size or of_a_device, of_a_device))


def add_resume(parser: argparse.ArgumentParser) -> None:
    """``--checkpoint-seconds``."""
    add_keys(parser, "execution", "checkpoint_seconds")


def add_cell(parser: argparse.ArgumentParser) -> None:
    """Which cell it is."""
    parser.add_argument("--cell", required=True, help="folder of the cell inside the experiment, or base/seed-<seed>")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument(
        "--iteration", type=int, required=True, help="number of retrainings so far; 0 is the base model"
    )


def add_control(parser: argparse.ArgumentParser) -> None:
    """What every control is given, and what it makes."""
    add_cell(parser)
    parser.add_argument("--ratio", required=True, help="percent of generated images; only those are treated")
    parser.add_argument("--generated", type=Path, required=True, help="image set with an image for every slot")
    parser.add_argument("--real", type=Path, required=True, help="image set with the real image of every slot")
    parser.add_argument("--output", type=Path, required=True, help="output: image set after the control")
    parser.add_argument("--table", type=Path, required=True, help="output: what happened to each image (CSV)")


def add_evaluator(parser: argparse.ArgumentParser) -> None:
    """Feature spaces and where their weights are."""
    add_keys(parser, "score", "features", "clip", "inception", "inception_sha256", "dinov2")
    add_keys(parser, "execution", "embed_batch_size")


def add_looks(parser: argparse.ArgumentParser) -> None:
    """``--looks``."""
    add_key(parser, "looks", schema_of_key("looks"), default_of_key("looks"))


def add_scores(parser: argparse.ArgumentParser) -> None:
    """The scores that something is judged by, and how often one looks at them."""
    add_looks(parser)
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    parser.add_argument("--jackknife", type=Path, required=True, help="tables/jackknife.csv")


def add_figure(parser: argparse.ArgumentParser) -> None:
    """What every figure is given, and what it makes."""
    add_keys(parser, "figures", "dpi")
    parser.add_argument("--output", type=Path, nargs=3, required=True, help="output: .svg, .png and the table (.csv)")


def _advice(error: Exception, arguments: argparse.Namespace) -> str | None:
    """What to do about a mistake that only the file system or a GPU knows of; None for other errors.

    Args:
        error: the mistake.
        arguments: of the job: its options are what it obeys.
    """
    # Torch's error for a GPU's memory, and Apple's, which has no class; scripts without torch share this module.
    if type(error).__name__ == "OutOfMemoryError" or "MPS backend out of memory" in str(error):
        return _less_memory(arguments)
    # safetensors tells it in words.
    full = errno.ENOSPC if os.strerror(errno.ENOSPC) in str(error) else 0
    number = (error.errno if isinstance(error, OSError) else 0) or full
    if number in (errno.ENOSPC, errno.EDQUOT) and hasattr(arguments, "checkpoint_seconds"):
        return f"{ADVICE[number]}: it goes on from the last checkpoint"
    return ADVICE.get(number)


def _less_memory(arguments: argparse.Namespace) -> str:
    """The keys of the config by which a job takes less of a device's memory."""
    given = vars(arguments)
    batches = [f"`execution.{option}`" for option in BATCHES if (given.get(option) or 0) > 1]
    batches += given.get("batch_keys", [])
    ways = [f"lower {' or '.join(batches)}"] if batches else []
    if given.get("gradient_checkpointing") is False:
        ways.append("set `execution.gradient_checkpointing: true`")
    if "sample_batch_size" in given and given.get("precision") == "fp32":
        ways.append("draw in half precision (`precision: bf16`)")
    if not ways:
        return "No setting of this job takes less; use a device with more memory, or `execution.device: cpu`"
    return (advice := ", or ".join(ways))[0].upper() + advice[1:]


def _keep_freed_memory() -> None:
    """Have malloc keep what arrays free, instead of giving it back to the system, which clears it every time anew.

    On the CPU that is a tenth of a training step and a quarter of an encoding. Does nothing where malloc is not glibc's.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for threshold in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(threshold, 2**31 - 1)


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> NoReturn:
    """Set up logging, run ``main`` and end the process.

    A `UserError` becomes its message and exit code 2, a disk that is full or cannot be written too; a job that a signal
    stopped ends with 128 and the signal's number, as shells tell it.
    """
    gc.freeze()
    gc.enable()
    _keep_freed_memory()
    screen = logging.StreamHandler()
    handlers: list[logging.Handler] = [screen]
    # Of several processes that share a retraining, one speaks.
    silent = os.environ.get("RANK", "0") != "0"
    if silent:
        screen.setLevel(logging.WARNING)
    elif arguments.log:
        # Beside other jobs on one screen, only what needs attention; the log has everything.
        screen.setLevel(logging.WARNING)
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        # After what earlier runs wrote: a job that is tried again, or refused because another is at work, hides nothing.
        with open(arguments.log, "a", encoding="utf-8") as log:
            log.write(f"{RUN_BEGINS}{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z} on {socket.gethostname()}\n")
        handlers.append(logging.FileHandler(arguments.log, encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    for noisy in ("httpx", "PIL", "matplotlib", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    status = 0
    try:
        main(arguments)
        sys.stdout.flush()
    except UserError as error:
        logging.error("error: %s", error)
        status = 2
    except Interrupted as stopped:
        logging.warning("%s", stopped)
        status = 128 + stopped.signal
    except Exception as error:
        if isinstance(error, BrokenPipeError) and not arguments.log:
            # Whoever reads what is printed, such as `head`, has enough; what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 128 + signal.SIGPIPE
        elif advice := _advice(error, arguments):
            logging.error("error: %s. %s", error, advice)
            status = 2
        else:
            # The traceback belongs into the log file too, not only on the terminal of whoever happened to start the job.
            logging.exception("failed")
            status = 1
    # Everything is written and closed. Python would take torch and its libraries apart now, for two seconds.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
