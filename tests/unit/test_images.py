"""Image sets: readable by others, honest about pixels, whole or not there."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nepotism.data import images
from nepotism.data.images import ImageSet, Record, read_image_set, read_manifest, read_records
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write
from PIL import Image


def some(count=4, groups=2):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    records = [
        Record(
            f"id-{i}",
            f"caption {i}",
            f"g{i % groups}",
            f"g{i % groups}/{i // groups:03d}",
            "generated",
            2,
            ("a", "b"),
            "m",
            "0/x",
        )
        for i in range(count)
    ]
    return pixels, records


def test_what_is_written_is_read(tmp_path):
    pixels, records = some()
    images.write_image_set(tmp_path / "set.parquet", pixels, records)
    read = images.read_image_set(tmp_path / "set.parquet")
    np.testing.assert_array_equal(read.pixels, pixels)
    assert [(r.id, r.parents, r.iteration, r.sha256) for r in read.records] == [
        (r.id, r.parents, r.iteration, images.digest(image)) for r, image in zip(records, pixels)
    ]
    assert images.read_records(tmp_path / "set.parquet") == read.records
    only = images.read_image_set(tmp_path / "set.parquet", {"g1/000"})
    assert [record.id for record in only.records] == ["id-1"]


def test_hugging_face_datasets_decodes_the_images(tmp_path):
    datasets = pytest.importorskip("datasets")
    pixels, records = some()
    images.write_image_set(tmp_path / "set.parquet", pixels, records)
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "set.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(loaded[0]["image"], Image.Image)
    np.testing.assert_array_equal(np.array(loaded[3]["image"]), pixels[3])
    assert loaded[1]["parents"] == ["a", "b"]
    assert loaded[1]["prompt"] == "caption 1"


def test_changed_pixels_are_noticed(tmp_path):
    pixels, records = some()
    path = tmp_path / "set.parquet"
    images.write_image_set(path, pixels, records)
    table = pq.read_table(path).to_pylist()
    table[1]["image"]["bytes"] = images.encode_png(255 - pixels[1])
    pq.write_table(pa.Table.from_pylist(table, images.IMAGE_SCHEMA), path)
    with pytest.raises(ValueError, match="the pixels of id-1 do not match"):
        images.read_image_set(path)


def test_ids_must_be_unique_and_rows_complete(tmp_path):
    pixels, records = some()
    with pytest.raises(ValueError, match="unique"):
        images.write_image_set(tmp_path / "x.parquet", pixels, [records[0]] * 4)
    with pytest.raises(ValueError, match="4 images but 3 rows"):
        images.write_image_set(tmp_path / "x.parquet", pixels, records[:3])
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_has_no_pixels_but_the_file_of_every_row(tmp_path):
    _, records = some()
    images.write_manifest(tmp_path / "mix.parquet", records, ["a.parquet"] * 2 + ["b.parquet"] * 2)
    assert "image" not in pq.read_schema(tmp_path / "mix.parquet").names
    assert images.read_manifest(tmp_path / "mix.parquet") == list(zip(records, ["a.parquet"] * 2 + ["b.parquet"] * 2))


def test_a_contact_sheet_has_one_column_per_group(tmp_path):
    pixels, records = some(5)
    images.contact_sheet(tmp_path / "sheet.png", ImageSet(pixels, records))
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 8, 2 * 8, 3)
    np.testing.assert_array_equal(sheet[8:16, :8], pixels[2])


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert list(target.parent.iterdir()) == []
    with atomic_write(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_a_failing_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_write(target) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise OSError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_is_no_image_set_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "samples.parquet"
    message = r"samples\.parquet: it is no image set .*; delete it to regenerate it"
    readers = (read_image_set, read_records, read_manifest, lambda path: read_image_set(path, {"slot"}))
    path.write_bytes(b"damaged")
    for read in readers:
        with pytest.raises(UserError, match=message):
            read(path)
    pq.write_table(pa.table({"slot": ["slot"], "text": ["a caption"]}), path)
    for read in readers:
        with pytest.raises(UserError, match=message):
            read(path)
