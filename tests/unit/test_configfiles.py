"""Configurations as people write them: nothing in them is lost or misread."""

import pytest
import yaml
from conftest import ROOT
from nepotism.plan import configfiles
from nepotism.runtime.errors import UserError


def read(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return configfiles.read(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seeds: [0]\nfinetune: {epochs: 2}\nseeds: [1]\n", "`seeds` is given twice, on lines 1 and 3"),
        (
            "finetune:\n  epochs: 2\n  random_flip: true\n  epochs: 3\n",
            "`finetune.epochs` is given twice, on lines 2 and 4",
        ),
        ("arms:\n  - name: a\n    type: none\n    name: b\n", "`arms[0].name` is given twice, on lines 2 and 4"),
        ('a: 1\n"a": 2\n', "`a` is given twice, on lines 1 and 2"),
        ('{"seeds": [0],\n\t"seeds": [1]}', "`seeds` is given twice, on lines 1 and 2"),
        ("lm: &lm {model: null}\nother: {<<: *lm, <<: *lm}\n", "`other.<<` is given twice, on lines 2 and 2"),
    ],
)
def test_a_key_given_twice_is_told_with_file_key_and_both_lines(tmp_path, text, told):
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: {told}")


def test_what_only_looks_like_it_is_read_as_meant(tmp_path):
    text = "a: {x: 1}\nb: {x: 2}\nc: &c {x: 1, y: 2}\nd: {<<: *c, x: 3}\ne: [&f {x: 1}, *f]\n"
    assert read(tmp_path, text) == yaml.safe_load(text)
    assert read(tmp_path, "") == read(tmp_path, "# nothing\n") == {}
    assert read(tmp_path, "a: 0\nb: 0x1f\nc: '010'\nd: 1_000\ne: 12:30:xx\n") == {
        "a": 0, "b": 31, "c": "010", "d": 1000, "e": "12:30:xx",
    }  # fmt: skip
    for path in [ROOT / "workflow_config.yaml", *sorted((ROOT / "resources" / "experiments").glob("*.yaml"))]:
        assert configfiles.read(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "iterations: 010\n",
            "`iterations`: YAML reads 010 as 8; write 10 if that is the number, '010' if it is a name",
        ),
        ("seeds: [1, 0_17]\n", r"`seeds\[1\]`: YAML reads 0_17 as 15; write 17"),
        ("finetune: {epochs: 1:30}\n", "`finetune.epochs`: YAML reads 1:30 as 90; write 90"),
    ],
)
def test_numbers_that_yaml_reads_as_others_are_told(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [1\nb: 2\n", r"mine.yaml, line 2: no YAML: did not find expected"),
        (b"- 1\n", "has no keys; write `key: value`"),
        (b"a: caf\xe9\n", "is not UTF-8"),
        (b"a: \x00\n", "no YAML: unacceptable character"),
    ],
)
def test_what_is_no_configuration_is_told_in_one_line(tmp_path, content, told):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        configfiles.read(path)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UserError, match="there is no file"):
        configfiles.read(tmp_path / "nothing.yaml")


def test_values_of_the_command_line_are_read_as_in_a_file():
    words = ["seeds=[0,1]", "iterations=3", "finetune={epochs: 3, learning_rate: 2.0e-6}", 'experiment="007"', "arms="]
    assert configfiles.of_command_line(words) == {
        "seeds": [0, 1], "iterations": 3, "finetune": {"epochs": 3, "learning_rate": 2e-6}, "experiment": "007", "arms": None,
    }  # fmt: skip
    assert configfiles.of_command_line([]) == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["iterations=010"], "--config iterations=010: `iterations`: YAML reads 010 as 8; write 10"),
        (["finetune={epochs: 1, epochs: 2}"], "`finetune.epochs` is given twice"),
        (["seeds=[0]", "seeds=[1]"], "`seeds` is given twice after --config"),
        (["seeds=[0"], "--config seeds=.*no YAML"),
    ],
)
def test_values_of_the_command_line_that_are_not_what_they_look_like_are_told(words, told):
    with pytest.raises(UserError, match=told):
        configfiles.of_command_line(words)
