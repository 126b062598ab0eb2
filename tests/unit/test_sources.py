"""Real images: distinct, disjoint between splits, deterministic, and legible about mistakes."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nepotism import reference, streams
from nepotism.errors import UserError
from nepotism.images import digest, read_records
from nepotism.pretrain import data as pretrain_data
from nepotism.sources import digits, folder, portraits, splits
from PIL import Image

CAPTION = portraits.DEFAULT_CAPTION


def digests(split):
    return [digest(image.pixels) for members in split.values() for image in members]


def assert_disjoint(*collections):
    everything = [content for collection in collections for content in collection]
    assert len(everything) == len(set(everything))


def test_portraits_have_thirty_balanced_groups_and_captions():
    images = portraits.real_images(2, "holdout", 64, CAPTION)
    assert len(images.reference) == 30
    assert {len(members) for members in images.reference.values()} == {2}
    assert {len(members) for members in images.scoring.values()} == {4}
    first = images.reference["smiling-black-round"][0]
    assert first.prompt == "a portrait of a smiling person with black hair and a round face"
    assert first.pixels.shape == (64, 64, 3)


def test_portraits_are_the_same_every_time_and_more_of_them_begin_with_the_same():
    small, large = (portraits.real_images(n, "holdout", 64, CAPTION).reference for n in (1, 2))
    for group in small:
        np.testing.assert_array_equal(small[group][0].pixels, large[group][0].pixels)


def test_the_four_splits_of_the_portraits_are_disjoint_and_free_of_duplicates():
    holdout = portraits.real_images(3, "holdout", 64, CAPTION)
    develop = portraits.real_images(3, "develop", 64, CAPTION)
    pretrain = pretrain_data.draw_portraits("pretrain", 300, portraits.PRETRAIN_VARIATION)
    broad_develop = pretrain_data.draw_portraits("develop", 100, portraits.REFERENCE_VARIATION)
    assert_disjoint(
        digests(holdout.reference), digests(holdout.scoring), digests(develop.scoring),
        map(digest, pretrain.pixels), map(digest, broad_develop.pixels),
    )  # fmt: skip


def test_the_four_splits_of_the_digits_are_disjoint_and_cover_what_they_promise():
    indices = digits.split_indices()
    images, _ = digits.load()
    contents = {
        split: [digest(digits.render(images[i])) for found in words.values() for i in found]
        for split, words in indices.items()
    }
    assert {split: len(found) for split, found in contents.items()} == {
        s: 10 * n for s, n in digits.SPLIT_SIZES.items()
    }
    assert_disjoint(*contents.values())


def test_digits_show_their_label():
    images = digits.real_images(2, "holdout", 64, digits.DEFAULT_CAPTION)
    assert images.reference["seven"][0].prompt == "a handwritten digit seven"
    _, labels = digits.load()
    assert all(labels[int(image.name.split("/")[1])] == 7 for image in images.reference["seven"])


def test_too_many_digits_are_refused_with_the_number_there_is():
    with pytest.raises(UserError, match="`reference.images_per_group`: 31 is too many; the digits have 30"):
        digits.real_images(31, "holdout", 64, digits.DEFAULT_CAPTION)


@given(st.lists(st.sampled_from("abcdefghijkl"), max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_dealing_depends_on_content_not_on_order(contents, first, second):
    sizes = {"one": first, "two": second}
    dealt = splits.deal(contents, sizes)
    backwards = splits.deal(contents[::-1], sizes)
    for split in sizes:
        assert [contents[i] for i in dealt[split]] == [contents[::-1][i] for i in backwards[split]]
    assert_disjoint([contents[i] for i in dealt["one"]], [contents[i] for i in dealt["two"]])


def picture(path, seed, size=(50, 40), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def read(path, per_group=2, on_bad_image="fail", resolution=16):
    return folder.real_images(per_group, "holdout", resolution, "a photo of {group}", path, on_bad_image, "lanczos")


def test_a_folder_with_one_sub_folder_per_group(tmp_path):
    for group in ("cat", "dog"):
        for index, suffix in enumerate(["png", "jpg", "webp", "bmp", "gif", "tiff", "png", "png"]):
            picture(tmp_path / group / f"{index}.{suffix}", seed=index + 100 * (group == "dog"))
    images = read(tmp_path)
    assert list(images.reference) == ["cat", "dog"]
    assert {len(members) for members in images.reference.values()} == {2}
    assert {len(members) for members in images.scoring.values()} == {4}
    assert images.reference["cat"][0].prompt == "a photo of cat"
    assert images.reference["cat"][0].pixels.shape == (16, 16, 3)
    assert_disjoint(digests(images.reference), digests(images.scoring))


def write_metadata(path, rows, columns=("file_name", "text", "group")):
    with open(path / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def test_a_folder_with_metadata(tmp_path):
    for index in range(8):
        picture(tmp_path / f"{index}.png", index)
    write_metadata(tmp_path, [(f"{i}.png", f"caption {i}", "g") for i in range(8)])
    images = read(tmp_path)
    assert {image.prompt for image in images.reference["g"]} < {f"caption {i}" for i in range(8)}


def test_all_mistakes_of_a_folder_are_told_at_once(tmp_path):
    for index in range(9):
        picture(tmp_path / f"{index}.png", index)
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = [(f"{i}.png", "t", "full") for i in range(8)]
    rows += [
        ("broken.png", "t", "full"),
        ("absent.png", "t", "full"),
        ("../outside.png", "t", "full"),
        ("0.png", "", "full"),
    ]
    rows += [("8.png", "t", "short")]
    write_metadata(tmp_path, rows)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    message = str(caught.value)
    for part in (
        "broken.png: cannot be read as an image", "line 11: there is no file absent.png", "../outside.png is outside the folder",
        "line 13: column text is empty", "group 'short': 1 usable distinct images, but 6 are needed",
    ):  # fmt: skip
        assert part in message


def test_missing_columns_are_named_beside_those_that_are_there(tmp_path):
    picture(tmp_path / "0.png", 0)
    write_metadata(tmp_path, [("0.png", "t")], columns=("file_name", "caption"))
    with pytest.raises(UserError, match="missing columns text, group; its first line has: file_name, caption"):
        read(tmp_path)


def test_an_absent_or_empty_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither metadata.csv .* nor a sub-folder per group"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="group 'empty': the folder is empty"):
        read(tmp_path)


def test_bad_images_are_skipped_only_when_asked_and_then_said(tmp_path, caplog):
    for index in range(7):
        picture(tmp_path / "g" / f"{index}.png", index)
    (tmp_path / "g" / "7.png").write_bytes((tmp_path / "g" / "0.png").read_bytes()[:100])
    with pytest.raises(UserError, match="g/7.png: cannot be read"):
        read(tmp_path)
    images = read(tmp_path, on_bad_image="skip")
    assert len(images.reference["g"]) == 2
    assert "left out: g/7.png" in caplog.text


def test_duplicates_count_once(tmp_path):
    for index in range(6):
        picture(tmp_path / "g" / f"{index}.png", index % 3)
    with pytest.raises(UserError, match="group 'g': 3 usable distinct images"):
        read(tmp_path)


def test_a_picture_in_two_groups_would_be_measured_against_itself(tmp_path):
    for group in ("cat", "dog"):
        for index in range(6):
            picture(tmp_path / group / f"{index}.png", index + 10 * (group == "dog"))
    (tmp_path / "dog" / "copy.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    with pytest.raises(UserError, match="the same picture stands in several groups: cat/0.png .* dog/copy.png"):
        read(tmp_path)


def test_metadata_in_another_encoding_is_told(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("file_name,text,group\na.png,caf\u00e9,g\n".encode("cp1252"))
    with pytest.raises(UserError, match="not a CSV file in UTF-8"):
        read(tmp_path)


def test_groups_that_are_paths_are_refused(tmp_path):
    picture(tmp_path / "0.png", 0)
    write_metadata(tmp_path, [("0.png", "t", ".."), ("0.png", "t", "a/b")])
    with pytest.raises(UserError, match=r"line 2: group '..' must not contain / nor be a path"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "bilinear"])
def test_the_middle_square_is_resized_by_the_filter_that_is_asked_for(name):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    square = Image.fromarray(pixels[:, 10:50])
    expected = square.resize((16, 16), Image.Resampling[name.upper()])
    np.testing.assert_array_equal(folder.fitted(Image.fromarray(pixels), 16, name), np.array(expected))


def test_the_filter_reaches_the_pictures_of_a_folder(tmp_path):
    for index in range(6):
        picture(tmp_path / "g" / f"{index}.png", index)
    sharp, soft = (
        folder.real_images(2, "holdout", 16, "{group}", tmp_path, "fail", name) for name in ("lanczos", "bilinear")
    )
    shown = {image.name: image.pixels for image in [*soft.reference["g"], *soft.scoring["g"]]}
    for index in range(6):
        with Image.open(tmp_path / "g" / f"{index}.png") as image:
            np.testing.assert_array_equal(shown[f"g/{index}.png"], folder.fitted(image, 16, "bilinear"))
    assert set(digests(sharp.reference)).isdisjoint(digests(soft.reference))


def test_ratios_are_checked_where_group_sizes_are_known(caplog):
    with pytest.raises(UserError, match=r"0.1 % of 300 slots is no image at all; use at least 0.17 %"):
        reference.check_ratios([0, 0.1], 30, 300)
    reference.check_ratios([0, 3.3, 100], 30, 300)
    assert "3.3 % of 300 slots is 10 images, less than one for each of 30 groups" in caplog.text


def test_slots_number_the_images_of_a_group(tmp_path):
    reference.write(tmp_path / "real.parquet", portraits.real_images(2, "holdout", 64, CAPTION).reference)
    records = read_records(tmp_path / "real.parquet")
    assert [record.slot for record in records[:3]] == [
        "smiling-black-round/000",
        "smiling-black-round/001",
        "smiling-black-long/000",
    ]
    assert {record.origin for record in records} == {"real"}


def test_streams_are_keyed_by_their_whole_name():
    assert streams.generator(0, "a").random() == streams.generator(0, "a").random()
    names = [(0, "a"), (0, "a", 0), ("0", "a"), (0, "b"), ("0/a",)]
    assert len({streams.generator(*key).random() for key in names}) == len(names)
    assert len({streams.integer_seed(*key) for key in names}) == len(names)
    assert all(0 <= streams.integer_seed(*key) < 2**63 for key in names)
