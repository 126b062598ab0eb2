"""Options of scripts that are keys of the configuration: declared once, in the schema and the default configuration."""

import argparse
import ast
from pathlib import Path

import pytest
from conftest import ROOT
from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.experiment.declared import default_of_key, schema_of_key
from nepotism.plan.config import schema_of
from nepotism.plan.keys import keys_of
from nepotism.runtime.options import add_key, add_keys, add_parameters

# Given to scripts in a form of their own: NAME=VALUE words, one of two ways to choose a slot, files for a path.
# `--seed` is that of a cell: the parameter of the regime feed says which of them the other chain has.
OF_THEIR_OWN = {"ages", "rename", "columns", "slot", "labels", "seed"}
# Something else by the same name.
NAMESAKES = {
    ("answer.py", "family"),
    ("answer.py", "threshold"),
    ("profile_table.py", "family"),
    ("search.py", "features"),
    ("track.py", "log_with"),
    ("claims.py", "family"),
    ("claims.py", "pair"),
    ("family_figure.py", "family"),
    ("page.py", "family"),
    ("__init__.py", "family"),
    ("figure_6.py", "images"),
    ("filter.py", "detector"),
    ("select_draws.py", "detector"),
    ("mix.py", "draws"),
    ("sifid_cull.py", "threshold"),
    ("stage_deepface.py", "folder"),
    ("stage_weights.py", "source"),
    ("stage_weights.py", "folder"),
}


def parsed(*words, add):
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(words)


def refused(capsys, *words, add):
    with pytest.raises(SystemExit):
        parsed(*words, add=add)
    return capsys.readouterr().err


def test_values_have_the_type_of_their_key():
    def add(parser):
        add_keys(parser, "finetune", "learning_rate", "epochs", "random_flip", "budget")
        add_keys(parser, "unseen", "prompts")
        add_keys(parser, "score", "clip")

    words = ["--learning-rate", "3e-4", "--epochs", "2", "--no-random-flip", "--budget", "epochs", "--clip", "a/b"]
    found = parsed(*words, "--prompts", "one", "two", add=add)
    assert (found.learning_rate, found.epochs, found.random_flip, found.budget) == (3e-4, 2, False, "epochs")
    assert (found.prompts, found.clip) == (["one", "two"], Path("a/b"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--learning-rate", "0", "--epochs", "1"], "argument --learning-rate: 0.0 is less than or equal to the minimum of 0"),
        (["--learning-rate", "0.1", "--epochs", "0"], "argument --epochs: 0 is less than the minimum of 1"),
        (["--learning-rate", "0.1", "--epochs", "1.5"], "argument --epochs: invalid integer value: '1.5'"),
        (["--learning-rate", "0.1"], "the following arguments are required: --epochs"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_told_as_of_the_configuration(capsys, words, told):
    assert told in refused(capsys, *words, add=lambda parser: add_keys(parser, "finetune", "learning_rate", "epochs"))


def test_how_a_job_is_executed_has_the_configurations_defaults():
    found = parsed(add=lambda parser: add_keys(parser, "execution", "threads", "sample_batch_size", "compile"))
    assert vars(found) == {
        name: default_of_key(f"execution.{name}") for name in ("threads", "sample_batch_size", "compile")
    }


def test_a_key_that_may_be_null_may_be_left_out(monkeypatch):
    assert parsed(add=lambda parser: add_keys(parser, "score", "inception")).inception is None
    # Of a null, jobs are told nothing, whatever the default configuration says.
    monkeypatch.setattr("nepotism.runtime.options.default_of_key", lambda key: 4)
    found = parsed(add=lambda parser: add_keys(parser, "execution", "per_device_batch_size", "threads"))
    assert (found.per_device_batch_size, found.threads) == (None, 4)


def test_parameters_have_the_defaults_that_their_control_declares():
    control = CONTROLS["histogram_match"]
    found = vars(parsed(add=lambda parser: add_parameters(parser, control.parameters)))
    assert found == {name: schema["default"] for name, schema in control.parameters.items()}


def test_the_help_is_the_keys_description():
    parser = argparse.ArgumentParser()
    add_key(parser, "strength", schema_of_key("initial_images.strength"))
    described = " ".join(parser.format_help().split())
    assert schema_of_key("initial_images.strength")["description"] in described


def test_an_unknown_key_is_no_option():
    with pytest.raises(KeyError):
        schema_of_key("finetune.learning_rates")


def declared_names():
    root = schema_of("diffusion")
    names = {key.name.rsplit(".", 1)[-1] for block, schema in root["properties"].items() for key in keys_of(block, schema, root)
             if "[]" not in key.name and "." in key.name}  # fmt: skip
    plug_ins = [*REGIMES.values(), *CONTROLS.values()]
    return names | {name for plug_in in plug_ins for name in plug_in.parameters}


def options_written_out(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            for word in node.args:
                if isinstance(word, ast.Constant) and str(word.value).startswith("--"):
                    yield str(word.value)[2:].replace("-", "_")


def test_no_option_declares_a_key_again():
    names = declared_names() - OF_THEIR_OWN
    again = [
        f"{path.relative_to(ROOT)}: --{name}"
        for path in sorted((ROOT / "scripts").rglob("*.py"))
        for name in options_written_out(path)
        if name in names and (path.name, name) not in NAMESAKES
    ]
    assert again == []
