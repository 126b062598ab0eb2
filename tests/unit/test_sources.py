"""Real images: distinct, disjoint between splits, deterministic, and legible about mistakes."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nepotism.data.images import digest, read_records
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.sources import digits, folder, portraits, reference, splits
from nepotism.sources.ffhq import source
from PIL import Image
from pretraining import data as pretrain_data

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
    pretrain = pretrain_data.draw_portraits("pretrain", 300, pretrain_data.PRETRAIN_VARIATION)
    broad_develop = pretrain_data.draw_portraits("develop", 100, portraits.REFERENCE_VARIATION)
    assert_disjoint(
        digests(holdout.reference), digests(holdout.scoring), digests(develop.scoring),
        map(digest, pretrain.pixels), map(digest, broad_develop.pixels),
    )  # fmt: skip


def test_the_four_splits_of_the_digits_are_disjoint_and_cover_what_they_promise():
    indices = digits.split_indices()
    images, _ = digits.read_images()
    contents = {
        split: [digest(digits.render(images[i])) for found in words.values() for i in found]
        for split, words in indices.items()
    }
    assert {split: len(found) for split, found in contents.items()} == {
        s: 10 * n for s, n in digits.SPLIT_SIZES.items()
    }
    assert_disjoint(*contents.values())


@pytest.mark.parametrize("source", [portraits, digits])
def test_images_that_are_reserved_are_in_no_other_split_and_stay_when_more_are(source):
    few, more = (
        source.real_images(2, "holdout", 64, "someone", names) for names in (["detector"], ["detector", "1", "2"])
    )
    assert list(more.fresh) == ["detector", "1", "2"]
    assert digests(few.fresh["detector"]) == digests(more.fresh["detector"])
    assert_disjoint(*(digests(split) for split in (more.reference, more.scoring, *more.fresh.values())))


def test_digits_show_their_label():
    images = digits.real_images(2, "holdout", 64, digits.DEFAULT_CAPTION)
    assert images.reference["seven"][0].prompt == "a handwritten digit seven"
    _, labels = digits.read_images()
    assert all(labels[int(image.name.split("/")[1])] == 7 for image in images.reference["seven"])


def test_too_many_digits_are_refused_with_the_number_there_is():
    with pytest.raises(UserError, match="`reference.images_per_group`: 31 is too many; the digits have 30"):
        digits.real_images(31, "holdout", 64, digits.DEFAULT_CAPTION)


@given(st.lists(st.sampled_from("abcdefghijkl"), max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_dealing_depends_on_content_not_on_order(contents, first, second):
    sizes = {"one": first, "two": second}
    dealt = splits.split_by_digest(contents, sizes)
    backwards = splits.split_by_digest(contents[::-1], sizes)
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


def test_a_folder_reserves_images_that_stay_when_more_are_reserved(tmp_path):
    for index in range(20):
        picture(tmp_path / "cat" / f"{index}.png", seed=index)
    few, more = (
        folder.real_images(2, "holdout", 16, "{group}", tmp_path, "fail", "lanczos", names)
        for names in (["detector"], ["detector", "1", "2"])
    )
    assert digests(few.fresh["detector"]) == digests(more.fresh["detector"])
    assert_disjoint(*(digests(split) for split in (more.reference, more.scoring, *more.fresh.values())))
    with pytest.raises(UserError, match="group 'cat': 20 usable distinct images, but 22 are needed .*8 more sets of 2"):
        folder.real_images(2, "holdout", 16, "{group}", tmp_path, "fail", "lanczos", [f"{n}" for n in range(8)])


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


ROWS = [(f"{i}.png", f"caption {i}, with a comma", "g") for i in range(8)]


def write_rows(path, suffix, rows, columns=("file_name", "text", "group")):
    """Metadata as Hugging Face's image folders have it."""
    if suffix == "csv":
        write_metadata(path, rows, columns)
    elif suffix == "jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        (path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    else:
        table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        pq.write_table(table, path / "metadata.parquet")


def pictures(path, count=8):
    for index in range(count):
        picture(path / f"{index}.png", index)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_metadata_is_read_in_every_format_of_image_folders(tmp_path, suffix):
    pictures(tmp_path)
    write_rows(tmp_path, suffix, ROWS)
    images = read(tmp_path)
    assert list(images.reference) == ["g"]
    assert {image.prompt for image in images.reference["g"]} < {text for _, text, _ in ROWS}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_wrong_with_a_row_is_told_in_every_format(tmp_path, suffix):
    pictures(tmp_path)
    write_rows(tmp_path, suffix, [*ROWS, ("../outside.png", "t", "g"), ("9.png", "t", "g"), ("0.png", "", "g")])
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    first = {"csv": "line 10", "jsonl": "line 9", "parquet": "row 8"}[suffix]
    for part in (f"metadata.{suffix} {first}: ../outside.png is outside", "no file 9.png", "column text is empty"):
        assert part in str(caught.value)
    write_rows(tmp_path, suffix, [("0.png", "t")], columns=("file_name", "caption"))
    with pytest.raises(UserError, match=r"missing columns text, group|column text is missing"):
        read(tmp_path)


def test_values_of_metadata_are_texts_or_whole_numbers_of_groups(tmp_path):
    pictures(tmp_path)
    write_rows(tmp_path, "parquet", [(name, text, 3) for name, text, _ in ROWS])
    assert list(read(tmp_path).reference) == ["3"]
    (tmp_path / "metadata.parquet").unlink()
    lines = ['{"file_name": "0.png", "text": 5, "group": true}', '{"file_name": "0.png"', '["0.png"]']
    lines += ['{"text": "a", "text": "b"}', '{"file_name": "0.png", "text": "\\ud83d", "group": "g"}']
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    for part in (
        "line 1: column text is no text, but 5", "line 1: column group is no text, but True", "line 2: no JSON object",
        "line 3: no JSON object", "line 4: no JSON object (text given twice)", "line 5: column text is no text",
    ):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize("names", [["Metadata.csv"], ["metadata.json"], ["metadata.csv", "metadata.jsonl"]])
def test_metadata_of_another_name_or_twice_is_refused_by_name(tmp_path, names):
    pictures(tmp_path / "g")
    for name in names:
        (tmp_path / name).write_text("file_name,text,group\n")
    with pytest.raises(UserError, match=rf"{names[-1]}[:;].*"):
        read(tmp_path)


def test_metadata_inside_of_a_group_is_refused(tmp_path):
    pictures(tmp_path / "g")
    write_metadata(tmp_path / "g", [("0.png", "t", "g")])
    with pytest.raises(UserError, match="group 'g': metadata.csv is not read there"):
        read(tmp_path, on_bad_image="skip")


def test_a_comma_or_a_quote_in_metadata_shifts_and_swallows_nothing(tmp_path):
    pictures(tmp_path)
    lines = [f"{i}.png,a cat,g" for i in range(8)]
    lines[2], lines[5] = "2.png,a cat, asleep,g", '5.png,"a cat,g'
    (tmp_path / "metadata.csv").write_text("file_name,text,group\n" + "\n".join(lines))
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert "metadata.csv line 4: 4 values for 3 columns" in str(caught.value)
    assert "metadata.csv line 7: a quote is opened and not closed" in str(caught.value)


def test_a_file_with_two_captions_is_refused_and_a_repeated_row_is_told(tmp_path, caplog):
    pictures(tmp_path)
    write_metadata(tmp_path, [*ROWS, ROWS[3]])
    assert len(read(tmp_path).reference["g"]) == 2
    assert "warning: 1 rows of metadata.csv repeat others; each image counts once" in caplog.text
    write_metadata(tmp_path, [*ROWS, ("./3.png", "another", "g"), ("4.png", ROWS[4][1], "h")])
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert "line 10: 3.png has another caption or group in metadata.csv line 5" in str(caught.value)
    assert "line 11: 4.png has another caption or group in metadata.csv line 6" in str(caught.value)


def test_images_that_metadata_does_not_name_are_left_out_and_counted(tmp_path, caplog):
    pictures(tmp_path, 10)
    picture(tmp_path / "deep" / "10.png", 10)
    picture(tmp_path / ".ipynb_checkpoints" / "0.png", 0)
    (tmp_path / "notes.txt").write_text("no image")
    write_metadata(tmp_path, ROWS)
    assert len(read(tmp_path).reference["g"]) == 2
    assert "metadata.csv names 8 images; 3 others of the folder are left out: 8.png, 9.png, deep/10.png" in caplog.text


def test_hidden_files_are_no_images_and_what_lies_beside_groups_is_told(tmp_path, caplog):
    pictures(tmp_path / "g", 6)
    for hidden in ("g/.ipynb_checkpoints/0.png", "g/._0.png", "__MACOSX/g/0.png", ".git/0.png", "g/Thumbs.db"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_bytes(b"none")
    assert list(read(tmp_path).reference) == ["g"]
    assert "left out" not in caplog.text
    (tmp_path / "labels.csv").write_text("file,label\n")
    read(tmp_path)
    assert "warning: 1 files beside the groups are left out: labels.csv" in caplog.text


def test_images_may_be_links_into_a_store_and_paths_out_of_the_folder_may_not(tmp_path):
    pictures(tmp_path / "store")
    images = tmp_path / "images"
    images.mkdir()
    for index in range(8):
        (images / f"{index}.png").symlink_to(tmp_path / "store" / f"{index}.png")
    write_metadata(images, ROWS)
    assert len(read(images).scoring["g"]) == 4
    (images / "gone.png").symlink_to(tmp_path / "nowhere.png")
    outside = tmp_path / "store" / "0.png"
    write_metadata(images, [*ROWS, ("../store/0.png", "t", "g"), (outside, "t", "g"), ("gone.png", "t", "g")])
    with pytest.raises(UserError) as caught:
        read(images)
    for part in ("../store/0.png is outside", f"{outside} is outside", "no file gone.png (it is a link to nothing)"):
        assert part in str(caught.value)


def test_names_of_files_and_groups_may_be_decomposed(tmp_path, caplog):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for index in range(8):
        picture(tmp_path / f"{decomposed}{index}.png", index)
    groups = [composed, decomposed] * 4
    write_metadata(tmp_path, [(f"{composed}{i}.png", f"a {decomposed}", group) for i, group in enumerate(groups)])
    images = read(tmp_path)
    assert list(images.reference) == [composed]
    assert images.reference[composed][0].prompt == f"a {composed}"
    assert images.reference[composed][0].name.startswith(composed)
    assert "left out" not in caplog.text
    folders = tmp_path / "folders"
    for index in range(6):
        picture(folders / decomposed / f"{index}.png", index)
    images = read(folders)
    assert list(images.reference) == [composed]
    assert images.reference[composed][0].prompt == f"a photo of {composed}"


def test_captions_of_copies_that_are_left_out_are_told(tmp_path, caplog):
    pictures(tmp_path)
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    write_metadata(tmp_path, [*ROWS, ("copy.png", "another caption", "g")])
    read(tmp_path)
    assert "the captions of 1 copies are left out" in caplog.text
    assert "copy.png (as 3.png)" in caplog.text


def test_pointers_and_pictures_of_other_depths_in_a_folder(tmp_path, caplog):
    for index in range(6):
        grey = np.full((20, 20), 100 + index, np.uint16)
        Image.fromarray(grey * np.uint16(257)).save(tmp_path / f"{index}.png")
    write_metadata(tmp_path, ROWS[:6])
    images = read(tmp_path)
    shown = {image.name: int(image.pixels.max()) for image in [*images.reference["g"], *images.scoring["g"]]}
    assert shown == {f"{index}.png": 100 + index for index in range(6)}
    (tmp_path / "6.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    frames = [Image.new("L", (8, 8), value) for value in (9, 99)]
    frames[0].save(tmp_path / "7.gif", save_all=True, append_images=frames[1:])
    write_metadata(tmp_path, [*ROWS[:7], ("7.gif", "t", "g")])
    with pytest.raises(UserError, match="6.png: cannot be read as an image .it is a Git LFS pointer"):
        read(tmp_path)
    assert "7.gif: it has several frames or pages; the first is taken" in caplog.text


def test_faces_that_were_chosen_are_found_in_decomposed_letters_and_resized_as_asked(tmp_path):
    rows = [["file_name", "text", "group"]]
    for index in range(6):
        picture(tmp_path / f"cafe\u0301{index}.png", index, size=(40, 40))
        rows.append([f"caf\u00e9{index}.png", "t", "g"])
    with open(tmp_path / "selection.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    images = source.real_images(2, "holdout", 16, tmp_path, tmp_path / "selection.csv", "fail", "bilinear")
    first = images.reference["g"][0]
    with Image.open(tmp_path / f"cafe\u0301{first.name[4]}.png") as image:
        np.testing.assert_array_equal(first.pixels, image.resize((16, 16), Image.Resampling.BILINEAR))


def test_reserved_faces_are_all_those_of_their_table_and_none_may_lack(tmp_path):
    for index in range(3):
        picture(tmp_path / "images" / f"{index}.png", index)
    rows = [(f"images/{index}.png", "a face", "g") for index in (2, 0)]
    with open(tmp_path / "1.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file_name", "text", "group"), *rows])
    split = source.reserved_images(tmp_path, tmp_path / "1.csv", 16, "bilinear")
    assert [(image.name, image.prompt) for image in split["g"]] == [
        ("images/2.png", "a face"),
        ("images/0.png", "a face"),
    ]
    (tmp_path / "images" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"images/0.png: cannot be read as an image"):
        source.reserved_images(tmp_path, tmp_path / "1.csv", 16, "bilinear")


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
def test_images_are_resized_by_the_filter_that_is_asked_for_and_cropped_in_the_middle(name):
    """As training scripts do: the shorter side becomes the resolution, then the middle is cut out."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    expected = image.resize((24, 16), Image.Resampling[name.upper()]).crop((4, 0, 20, 16))
    np.testing.assert_array_equal(folder.fitted(image, 16, name), np.array(expected))


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
    with pytest.raises(UserError, match=r"0.1 % \(of 200.1 %, beyond whole draws\) of 300 slots is no image at all"):
        reference.check_ratios([200.1], 30, 300)
    reference.check_ratios([0, 3.3, 100, 200, 250], 30, 300)
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
