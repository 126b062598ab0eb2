"""Small files that stand for large ones among the inputs of rules."""

import os
import shutil
from pathlib import Path

import pytest
from nepotism.plan import seen


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A working directory, with a folder of weights in it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    for name, content in (("unet/model.safetensors", "aaaa"), ("vae/model.safetensors", "bbbb"), ("index.json", "{}")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        os.utime(folder / name, (1000, 1000))
    return folder


def looked_at(weights):
    (small,) = seen.checksums(weights, look=True)
    path = Path(small)
    return path, path.read_text(), path.stat().st_mtime_ns


def test_weights_are_known_by_their_content(weights):
    path, text, _ = looked_at(weights)
    assert [line.split("  ")[1] for line in text.splitlines()] == [
        "index.json", "unet/model.safetensors", "vae/model.safetensors",
    ]  # fmt: skip
    # Seen for the first time they are as old as they are.
    assert path.stat().st_mtime == 1000
    # Another folder with the same weights says the same, and jobs name the file that the head has written.
    shutil.copytree(weights, weights.parent / "copy")
    assert looked_at(weights.parent / "copy")[1] == text
    assert seen.checksums(weights, look=False) == seen.checksums(weights, look=True)


def test_touched_copied_or_described_weights_are_the_same(weights):
    before = looked_at(weights)
    os.utime(weights / "unet" / "model.safetensors")
    shutil.copy(weights / "vae" / "model.safetensors", weights / "vae" / "again")
    os.replace(weights / "vae" / "again", weights / "vae" / "model.safetensors")
    (weights / "README.md").write_text("a card")
    (weights / ".git").mkdir()
    (weights / ".git" / "index.json").write_text("{}")
    assert looked_at(weights) == before


@pytest.mark.parametrize("keep_time", [False, True])
def test_replaced_weights_are_others_even_with_the_size_and_the_time_of_the_old(weights, keep_time):
    path, text, _ = looked_at(weights)
    (weights / "unet" / "model.safetensors").write_text("cccc")
    if keep_time:
        os.utime(weights / "unet" / "model.safetensors", (1000, 1000))
    _, changed, _ = looked_at(weights)
    assert changed.splitlines()[0] == text.splitlines()[0]
    assert changed != text
    # Snakemake looks at the content of what is newer than the results.
    assert path.stat().st_mtime > 1000
    os.remove(weights / "index.json")
    assert "index.json" not in looked_at(weights)[1]


def test_only_what_has_changed_is_read_again(weights, monkeypatch):
    looked_at(weights)
    read = []
    monkeypatch.setattr(seen, "sha256", lambda path: read.append(path.name) or "0" * 64)
    looked_at(weights)
    assert read == []
    (weights / "index.json").write_text("{ }")
    looked_at(weights)
    assert read == ["index.json"]


def test_what_was_seen_may_be_deleted(weights):
    path, text, time = looked_at(weights)
    for file in path.parent.iterdir():
        file.unlink()
    assert looked_at(weights) == (path, text, time)


def test_one_file_and_linked_folders_are_weights_too_and_missing_ones_are_none(weights):
    assert seen.checksums(weights / "nothing", look=True) == []
    assert looked_at(weights / "index.json")[1].endswith("  index.json\n")
    link = weights.parent / "linked"
    link.mkdir()
    (link / "unet").symlink_to(weights / "unet")
    (link / "broken.json").symlink_to(weights / "gone.json")
    assert looked_at(link)[1].endswith("  unet/model.safetensors\n")


def test_groups_are_counted_by_the_head_and_read_by_jobs(weights):
    for name in ("cats", "dogs"):
        (weights.parent / "images" / name).mkdir(parents=True)
    images = weights.parent / "images"
    assert seen.groups(images, look=True) == 2
    (images / "birds").mkdir()
    assert seen.groups(images, look=False) == 2
    assert seen.groups(images, look=True) == 3
    (images / "metadata.csv").touch()
    assert seen.groups(images, look=True) is seen.groups(images, look=False) is None
