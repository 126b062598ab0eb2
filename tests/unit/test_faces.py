"""Labels of faces through real DeepFace calls on tiny ONNX models, and the draw of groups from labels."""

import csv

import numpy as np
import pytest
import tiny
from nepotism.errors import UserError
from nepotism.faces.deepface import Classifier
from nepotism.faces.labels import Label, official_name, read_labels, read_table, write_labels
from nepotism.faces.selection import Groups, select, with_licences
from PIL import Image

PAPER = Groups(
    "a photo of a {age} {race} {gender}.",
    ("age", "race", "gender"),
    [("young", 0), ("middle-age", 30), ("old", 50)],
    {"latino hispanic": "hispanic", "middle eastern": None, "male": "man", "female": "woman"},
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tiny.ffhq(tmp_path_factory.mktemp("ffhq"), 12) / "images1024x1024"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.deepface(tmp_path_factory.mktemp("deepface"))


def classified(faces, weights, files, batch_size=5):
    return list(Classifier(weights, "skip").classify(faces, files, batch_size))


def test_batches_give_what_deepface_says_of_each_image(faces, weights):
    files = [official_name(number) for number in range(7)]
    labels = classified(faces, weights, files)
    from deepface import DeepFace

    for label in labels:
        image = np.array(Image.open(faces / label.file))[:, :, ::-1]
        (alone,) = DeepFace.analyze(image, ("age", "gender", "race"), detector_backend="skip", silent=True)
        assert int(label.age) == alone["age"]
        assert label.gender == alone["dominant_gender"]
        assert label.race == alone["dominant_race"]
        assert label.race_score == pytest.approx(alone["race"][label.race] / 100, rel=1e-2)
        assert label.gender_score == pytest.approx(alone["gender"][label.gender] / 100, rel=1e-2)
    assert len({label.race for label in labels}) > 1
    assert [label.file for label in labels] == files


def test_a_single_face_and_the_last_short_batch_are_like_the_others(faces, weights):
    files = [official_name(number) for number in range(6)]
    whole, parts = classified(faces, weights, files, 6), classified(faces, weights, files, 5)
    assert [(one.race, one.gender) for one in whole] == [(one.race, one.gender) for one in parts]
    assert [one.age for one in whole] == pytest.approx([one.age for one in parts], rel=1e-4)


def test_a_bad_image_is_a_row_with_its_error(faces, weights, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "good.png").write_bytes((faces / official_name(0)).read_bytes())
    broken, missing, good = classified(tmp_path, weights, ["broken.png", "missing.png", "good.png"])
    assert "UnidentifiedImageError" in broken.error
    assert missing.error == "there is no such file"
    assert good.error == ""
    assert good.gender


def test_missing_weights_are_named_and_nothing_is_downloaded(tmp_path):
    with pytest.raises(
        UserError, match=r"`reference.ffhq.weights`: .* has no age_model_weights.onnx, .*`weights: deepface`"
    ):
        Classifier(tmp_path, "skip")


def test_labels_survive_their_file(tmp_path):
    labels = [Label("00000/00000.png", 31.5, "Man", "asian", 0.9, 0.5, 0.0), Label("00000/00001.png", error="broken")]
    write_labels(tmp_path / "shard-0.parquet", labels)
    assert read_labels(tmp_path / "shard-0.parquet") == labels


def label(number, age, race="white", gender="Woman", error=""):
    return Label(official_name(number), age, gender, race, error=error)


def test_groups_follow_cut_offs_and_names():
    assert PAPER.of(label(0, 29.9)) == {"age": "young", "race": "white", "gender": "woman"}
    assert PAPER.of(label(0, 30.0))["age"] == "middle-age"
    assert PAPER.of(label(0, 50.0, "latino hispanic")) == {"age": "old", "race": "hispanic", "gender": "woman"}
    assert PAPER.of(label(0, 30.0, "middle eastern")) is None
    assert PAPER.of(Label("a.png", None, "Man", "white")) is None


def many(count, **changes):
    return [label(number, 20.0 if number % 2 else 40.0, **changes) for number in range(count)]


def test_a_group_without_any_face_is_told_like_one_that_is_too_small():
    labels = [label(number, 20.0) for number in range(20)] + [
        label(number, 40.0, race="asian") for number in range(20, 40)
    ]
    with pytest.raises(UserError, match=r": middle-age-white-woman \(0\), young-asian-woman \(0\);"):
        select(labels, PAPER, 5, seed=0)


def test_a_missing_detector_is_named_before_any_image_is_read(weights):
    with pytest.raises(
        UserError, match="has no haarcascade_frontalface_default.xml, haarcascade_eye.xml for the detector"
    ):
        Classifier(weights, "opencv")


def test_weights_that_are_not_those_that_were_staged_are_refused(tmp_path):
    tiny.deepface(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  .deepface/weights/age_model_weights.onnx\n")
    with pytest.raises(UserError, match=r"age_model_weights.onnx differ from SHA256SUMS"):
        Classifier(tmp_path, "skip")


def test_the_draw_is_seeded_balanced_and_keeps_the_rest_for_measuring(caplog):
    chosen = select(many(100), PAPER, 5, seed=0)
    assert [each.group for each in chosen] == ["middle-age-white-woman"] * 15 + ["young-white-woman"] * 15
    assert chosen[0].text == "a photo of a middle-age white woman."
    assert select(many(100)[::-1], PAPER, 5, seed=0) == chosen, "the order of labels does not matter"
    assert select(many(100), PAPER, 5, seed=1) != chosen
    assert "warning" not in caplog.text


def test_short_groups_are_allowed_and_told_and_too_small_ones_are_listed(caplog):
    chosen = select(many(24), PAPER, 5, seed=0)
    assert len(chosen) == 24
    assert "group young-white-woman has 12 faces, 15 are best; it is scored with 3" in caplog.text
    with pytest.raises(
        UserError, match=r"fewer than 9 faces .*: middle-age-white-woman \(8\), young-white-woman \(8\); lower"
    ):
        select(many(16), PAPER, 5, seed=0)
    with pytest.raises(UserError, match="all, for there is none"):
        select(many(100, error="broken"), PAPER, 5, seed=0)


def table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


COLUMNS = {"file": "image_number", "age": "age_group", "gender": "gender", "race": None}


def test_a_table_like_that_of_ffhq_aging_is_read(tmp_path):
    rows = [
        ["image_number", "age_group", "gender"],
        ["0", "70-120", "male"],
        ["1234", "3-6", "female"],
        ["x.png", "", ""],
    ]
    found = read_table(table(tmp_path / "labels.csv", rows), COLUMNS)
    assert [(each.file, each.age, each.gender) for each in found] == [
        ("00000/00000.png", 70, "male"), ("01000/01234.png", 3, "female"), ("x.png", None, "")
    ]  # fmt: skip


def test_what_is_wrong_with_a_table_is_told(tmp_path):
    path = table(tmp_path / "labels.csv", [["number", "age_group"], ["0", "old"]])
    with pytest.raises(UserError, match="no column image_number, gender; its first line has: number, age_group"):
        read_table(path, COLUMNS)
    with pytest.raises(UserError, match=r"labels.csv line 2: column age_group has 'old'"):
        read_table(path, {"file": "number", "age": "age_group", "gender": None, "race": None})
    with pytest.raises(UserError, match="there is no file"):
        read_table(tmp_path / "none.csv", COLUMNS)


def test_licences_are_carried_along():
    chosen = select(many(100), PAPER, 5, seed=0)
    number = str(int(chosen[3].file_name[-9:-4]))
    told = with_licences(chosen, {number: {"metadata": {"license": "CC BY 2.0", "author": "A", "photo_url": "u"}}})
    assert (told[3].licence, told[3].author, told[3].url) == ("CC BY 2.0", "A", "u")
    assert told[3].file_name == chosen[3].file_name
    assert told[4] == chosen[4]
