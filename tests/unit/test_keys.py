"""Every key of a configuration is described, once, and the page of keys is written from there."""

import re

import describe
import pytest
import yaml
from conftest import ROOT
from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.families import FAMILIES
from nepotism.plan.config import schema_of
from nepotism.plan.keys import ELSEWHERE, key_of, keys_of

PAGE = ROOT / "docs" / "reference" / "keys.md"
DEFAULT = yaml.safe_load((ROOT / "workflow_config.yaml").read_text())


def all_keys():
    """Every key that the page has, with those of other families."""
    schema = schema_of("diffusion")
    for name, entry in schema["properties"].items():
        yield from keys_of(name, entry, schema, DEFAULT[name])
    for family in FAMILIES:
        block = schema_of(family)["properties"][family]
        yield from keys_of(family, block, block)


def parameters():
    for face in (*REGIMES.values(), *CONTROLS.values()):
        for name, declared in face.parameters.items():
            yield key_of(name, declared, required=name in getattr(face, "required", ()))


def test_the_page_has_the_keys_of_today():
    text = PAGE.read_text()
    written = describe.laid_into(text, PAGE, describe.key_tables())
    assert written == text, "python scripts/describe.py --keys --write docs/reference/keys.md"


def paths(value, name=""):
    """Every key of a configuration, as people write it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{name}.{key}" if name else key
            yield path
            if key not in ELSEWHERE:
                yield from paths(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{name}[]")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "resources" / "experiments").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_page_has_every_key_that_experiments_use(file):
    used = {*paths(DEFAULT), *paths(yaml.safe_load(file.read_text()))}
    assert used <= {key.name for key in all_keys()}


def test_every_key_says_what_it_is():
    """A comma or a colon in a sentence without quotes ends it, and YAML does not complain."""
    for key in (*all_keys(), *parameters()):
        assert re.search(r"[.?]$", key.description), f"{key.name}: {key.description}"
        assert key.type, key.name


def test_regimes_and_controls_say_what_they_are():
    text = PAGE.read_text()
    for face in (*REGIMES.values(), *CONTROLS.values()):
        assert f"| `{face.name}` | {face.summary} |" in text
        assert face.citation or face.name == "none"


def test_schemas_have_no_word_that_json_schema_does_not_know():
    """What follows a comma in an unquoted sentence becomes a key without a value."""

    def empty(value, place):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from [f"{place}.{key}"] if inner is None and key != "default" else empty(inner, f"{place}.{key}")
        elif isinstance(value, list):
            for inner in value:
                yield from empty(inner, place)

    found = [
        place
        for file in (ROOT / "resources" / "schemas").glob("*.yaml")
        for place in empty(yaml.safe_load(file.read_text()), file.stem)
    ]
    assert not found


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 20000}, ("integer", "1 to 20,000")),
        ({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 0.5}, ("number or null", "above 0, at most 0.5")),
        ({"enum": ["a", "b"]}, ("string", "`a`, `b`")),
        (
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": ["a"]}},
            ("list of strings", "1 or more; all different; each `a`"),
        ),
        (
            {"type": "array", "maxItems": 3, "items": {"type": "array", "items": {"type": "number"}}},
            ("list of lists of numbers", "0 to 3; each 0 or more"),
        ),
        ({"type": "integer", "minimum": 8, "maximum": 64, "multipleOf": 8}, ("integer", "8 to 64; a multiple of 8")),
        ({"type": "string", "pattern": "^x$", "not": {"enum": ["y"]}}, ("string", "`^x$`; not `y`")),
    ],
)  # fmt: skip
def test_types_and_ranges_are_words(schema, shown):
    key = key_of("x", schema)
    assert (key.type, key.range) == shown


def test_defaults_are_what_a_file_would_say():
    number = {"type": "number"}
    assert key_of("x", number, 1e-6).default == "`1.0e-06`"
    assert key_of("x", number, None).default == "`null`"
    assert key_of("x", {**number, "default": 2}).default == "`2`"
    assert key_of("x", number).default == "must be given"
    assert key_of("x", number, required=False).default == ""
    assert key_of("x", number, ["long"] * 50).default == "see `workflow_config.yaml`"
    # Those of the page are copied into files: they read as what they were.
    copied = {key.name: key.default.strip("`") for key in all_keys() if key.default.startswith("`")}
    for name in ("finetune.learning_rate", "unseen.images_per_prompt", "reference.folder.path", "reference.ffhq.ages"):
        value = DEFAULT
        for part in name.split("."):
            value = value[part]
        assert yaml.safe_load(copied[name]) == value


def test_a_cell_of_a_table_neither_ends_at_a_bar_nor_hides_what_looks_like_html():
    schema = {"type": "string", "pattern": "^a|b$", "description": "Takes <name> or `<name>`, a|b."}
    assert describe._cells(key_of("x", schema)) == (
        "`x`", "string", r"`^a\|b$`", "must be given", r"Takes \<name> or `<name>`, a\|b.",
    )  # fmt: skip
