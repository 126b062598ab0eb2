"""Files of users: which count, what they are called, and one candidate for every split."""

import os
from pathlib import Path

import pytest
from nepotism.data import user_files
from nepotism.runtime.errors import UserError


def make(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    return [folder / path for path in paths]


def test_what_systems_and_programs_leave_behind_is_none_of_the_data(tmp_path):
    kept = make(tmp_path, "a.txt", "deep/b.txt")
    make(
        tmp_path, ".git/a.txt", "deep/.ipynb_checkpoints/b.txt", "._a.txt", "__MACOSX/deep/c.txt", "deep/Thumbs.db",
        "desktop.ini",
    )  # fmt: skip
    assert user_files.visible_files(tmp_path) == kept
    assert [path.name for path in user_files.visible(tmp_path)] == ["a.txt", "deep"]
    # Where the folder itself lies does not matter.
    inner = tmp_path / ".cache" / "data"
    (kept,) = make(inner, "a.txt")
    assert user_files.visible_files(inner) == [kept]


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    make(tmp_path / "store", "a.txt")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "round").symlink_to(tmp_path / "store")
    assert user_files.visible_files(folder) == [folder / "linked" / "a.txt"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:\\x", ".."])
def test_paths_that_lead_out_of_a_folder_are_none(name):
    assert user_files.inside(name) is None
    assert user_files.inside("a/./b/../c.png") == os.path.join("a", "c.png")


def test_a_name_is_found_in_composed_and_decomposed_letters(tmp_path):
    (path,) = make(tmp_path, "cafe\u0301/e\u0301.png")
    assert user_files.find(tmp_path, "caf\u00e9/\u00e9.png") == path
    assert user_files.find(tmp_path, "cafe\u0301/\u00e9.png") == path
    assert user_files.find(tmp_path, "cafe/e.png") is None
    assert user_files.find(tmp_path, "x" * 5000) is None


def test_all_parts_of_a_split_are_one_candidate_for_it(tmp_path):
    files = make(
        tmp_path, "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test.parquet",
        "validation/0000.parquet", "validation/0001.parquet", "other.parquet",
    )  # fmt: skip
    assert user_files.by_split(tmp_path, files, "`k`") == {
        "train": files[:2], "test": files[2:3], "validation": files[3:5], "": files[5:],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["a/train-00000-of-00001.parquet", "b/train-00000-of-00001.parquet"], "several candidates .* train: a/train-.*, b/"),
        (["train.txt", "train.parquet"], "several candidates for the split train"),
        (["wiki.valid.raw", "validation.txt"], "several candidates for the split validation"),
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "lacks 1 of 3 parts .* train: number 1"),
        (["train/0001.parquet"], "lacks 1 of 2 parts of the split train: number 0"),
        (["train-test.txt"], "train-test.txt names two splits, test and train"),
    ],
)  # fmt: skip
def test_two_candidates_for_a_split_and_missing_parts_are_refused_by_name(tmp_path, paths, told):
    with pytest.raises(UserError, match=f"`k`: .*{told}"):
        user_files.by_split(tmp_path, make(tmp_path, *paths), "`k`")


def test_a_split_is_a_whole_word_of_a_name():
    named = {
        "wiki.train.tokens": "train",
        "my_test_data.txt": "test",
        "training.txt": "",
        "t10k-images-idx3-ubyte": "test",
    }
    assert {name: user_files.split_of(Path(name), "`k`") for name in named} == named
