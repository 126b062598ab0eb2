"""Labels of faces through real DeepFace calls on tiny ONNX models, and the draw of groups from labels."""

import csv
from argparse import Namespace

import numpy as np
import pytest
import tiny
from nepotism.runtime.errors import UserError
from nepotism.sources.ffhq.deepface import Classifier
from nepotism.sources.ffhq.labels import Label, official_name, read_labels, read_table, write_labels
from nepotism.sources.ffhq.selection import Chosen, Groups, select, with_licences
from PIL import Image
from select_images import METADATA, pairs, run

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
    assert broken.error == "it has no format that Pillow knows"
    assert missing.error == "there is no such file"
    assert good.error == ""
    assert good.gender


def test_faces_are_classified_in_all_their_depth_and_on_white(weights, tmp_path):
    """Like plain pictures of what a viewer shows."""
    Image.new("RGB", (64, 64), (156, 156, 156)).save(tmp_path / "plain.png")
    Image.fromarray(np.full((64, 64), 40_000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (tmp_path / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    names = ["plain.png", "deep.png", "white.png", "clear.png", "pointer.png"]
    plain, deep, white, clear, pointer = classified(tmp_path, weights, names)
    assert deep.age == pytest.approx(plain.age)
    assert clear.age == pytest.approx(white.age)
    assert plain.age != pytest.approx(white.age, abs=0.1)
    assert "Git LFS pointer" in pointer.error


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


def test_reserved_faces_are_others_and_stay_when_more_are_reserved():
    main, first, again, second = (
        [each.file_name for each in select(many(100), PAPER, 5, seed=0, reserved=sets, fresh=fresh)]
        for sets, fresh in ((3, False), (1, True), (1, True), (2, True))
    )
    assert main == [each.file_name for each in select(many(100), PAPER, 5, seed=0)]
    assert first == again
    assert len(first) == len(second) == 10
    assert not {*main} & {*first}
    assert not {*main, *first} & {*second}
    with pytest.raises(
        UserError, match=r"fewer than 55 faces \(three times images_per_group 5, and 8 times as many to reserve\)"
    ):
        select(many(100), PAPER, 5, seed=0, reserved=8)


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


@pytest.mark.parametrize(
    ("age", "years"),
    [("23", 23), ("23.5", 23.5), ("20-29", 20), ("20 - 29", 20), ("20\u201329", 20), ("70+", 70), ("", None)],
)
def test_ages_are_years_or_ranges_of_years(tmp_path, age, years):
    (found,) = read_table(
        table(tmp_path / "labels.csv", [["image_number", "age_group", "gender"], [0, age, ""]]), COLUMNS
    )
    assert found.age == years


def test_ages_that_are_neither_are_told_together_with_their_lines(tmp_path):
    # What a spreadsheet makes of 10-14 and 3-6, serial days among it; and what begins like an age.
    wrong = [
        "14-Oct",
        "Oct-14",
        "2003-06-10",
        "45213",
        "29-20",
        "20-",
        "23 years",
        "2\u00b2",
        "23,5",
        "more than 70",
        "old",
    ]
    rows = [
        ["image_number", "age_group", "gender"],
        [0, "20-29", ""],
        *([i, age, ""] for i, age in enumerate(wrong, 1)),
    ]
    with pytest.raises(UserError) as caught:
        read_table(table(tmp_path / "labels.csv", rows), COLUMNS)
    for line, age in enumerate(wrong, 3):
        assert f"labels.csv line {line}: column age_group has '{age}', which is neither years nor a range" in str(
            caught.value
        )
    assert "line 2:" not in str(caught.value)


def test_files_of_a_table_are_numbers_or_paths_inside_of_the_folder(tmp_path):
    rows = [["image_number", "age_group", "gender"], *([file, "", ""] for file in ("7", "00042", "./a/b.png"))]
    found = read_table(table(tmp_path / "labels.csv", rows), COLUMNS)
    assert [each.file for each in found] == ["00000/00007.png", "00000/00042.png", "a/b.png"]
    rows += [[file, "", ""] for file in ("\u00b2", "42.0", "-1", "1e3", "../x.png", "/x.png", "")]
    with pytest.raises(UserError) as caught:
        read_table(table(tmp_path / "labels.csv", rows[:1] + rows[5:]), COLUMNS)
    for part in (
        "line 2: column image_number has 42.0, which is neither a number", "line 3: column image_number has -1",
        "line 4: column image_number has 1e3", "line 5: column image_number has ../x.png, which is outside",
        "line 6: column image_number has /x.png, which is outside", "line 7: column image_number is empty",
    ):  # fmt: skip
        assert part in str(caught.value)
    assert read_table(table(tmp_path / "labels.csv", rows[:1] + rows[4:5]), COLUMNS)[0].file == "\u00b2"


def test_a_face_that_is_twice_in_a_table_counts_once_and_with_other_labels_is_refused(tmp_path):
    rows = [
        ["image_number", "age_group", "gender"],
        [3, "20-29", "male"],
        [4, "20-29", "male"],
        ["00003", "20-29", "male"],
    ]
    assert len(read_table(table(tmp_path / "labels.csv", rows), COLUMNS)) == 2
    rows += [[4, "20-29", "female"]]
    with pytest.raises(UserError, match=r"labels.csv line 5: 00000/00004.png has other labels in line 3"):
        read_table(table(tmp_path / "labels.csv", rows), COLUMNS)


def test_labels_are_read_in_one_spelling_and_from_utf8_only(tmp_path):
    rows = [["image_number", "age_group", "gender"], [3, "", "me\u0301tis"]]
    assert read_table(table(tmp_path / "labels.csv", rows), COLUMNS)[0].gender == "m\u00e9tis"
    (tmp_path / "labels.csv").write_bytes("image_number,age_group,gender\n3,,m\u00e9tis\n".encode("cp1252"))
    with pytest.raises(UserError, match="labels.csv: not a CSV file in UTF-8"):
        read_table(tmp_path / "labels.csv", COLUMNS)


def test_what_is_wrong_with_a_table_is_told(tmp_path):
    path = table(tmp_path / "labels.csv", [["number", "age_group"], ["0", "1", "2"], ["1", "20", "a, b"], ["2", "3"]])
    with pytest.raises(
        UserError, match="missing columns image_number, gender; its first line has: number, age_group. Name"
    ):
        read_table(path, COLUMNS)
    with pytest.raises(UserError, match=r"line 2: 3 values for 2 columns(.|\n)*line 3: 3 values"):
        read_table(path, {"file": "number", "age": "age_group", "gender": None, "race": None})
    with pytest.raises(UserError, match="there is no file"):
        read_table(tmp_path / "none.csv", COLUMNS)


def test_words_of_the_command_line_have_a_name_and_a_value():
    assert pairs(["young=0", "a=b=c"]) == [("young", "0"), ("a=b", "c")]
    with pytest.raises(UserError, match="young: expected NAME=VALUE"):
        pairs(["young"])


def test_licences_are_carried_along():
    chosen = select(many(100), PAPER, 5, seed=0)
    number = str(int(chosen[3].file_name[-9:-4]))
    told = with_licences(chosen, {number: {"metadata": {"license": "CC BY 2.0", "author": "A", "photo_url": "u"}}})
    assert (told[3].licence, told[3].author, told[3].url) == ("CC BY 2.0", "A", "u")
    assert told[3].file_name == chosen[3].file_name
    assert told[4] == chosen[4]


def test_files_whose_names_only_look_like_numbers_have_no_licence():
    chosen = [Chosen("\u00b2.png", "t", "g")]
    assert with_licences(chosen, {"2": {"metadata": {"license": "CC BY 2.0"}}}) == chosen


def test_a_number_given_twice_in_the_metadata_is_told(tmp_path):
    rows = [["file", "age", "gender", "race"], *([number, 20, "male", "white"] for number in range(30))]
    arguments = Namespace(
        fresh_sets=[], fresh=False,
        caption="a {age} face", factors=["age"], ages=["young=0"], rename=[], images_per_group=5, selection_seed=0,
        columns=[f"{column}={column}" for column in rows[0]],
        labels=[table(tmp_path / "labels.csv", rows)], path=tmp_path, output=tmp_path / "images.csv",
    )  # fmt: skip
    (tmp_path / METADATA).write_text('{"1": {}, "2": {}, "1": {"metadata": {}}}')
    with pytest.raises(UserError, match=rf"{METADATA}: it is not FFHQ's metadata \(1 given twice\)"):
        run(arguments)
    (tmp_path / METADATA).write_text('{"1": {}, "2": {}}')
    run(arguments)
    assert arguments.output.is_file()
