"""Metrics and feature spaces say themselves what they are, once; pages and code keep to it."""

import importlib
import json
import re
import shutil
import subprocess
import sys

import declared
import describe
import pytest
import score_generations
import yaml
from conftest import ROOT
from nepotism.chain.engine import Score
from nepotism.families import FAMILIES, family_package
from nepotism.measure import evaluation, metrics
from nepotism.measure.embeddings import PER_IMAGE
from nepotism.runtime.errors import UserError

ALL = ("diffusion", *FAMILIES)
README = ROOT / "results" / "README.md"


def test_the_page_of_results_has_the_tables_of_today():
    text = README.read_text()
    written = describe.laid_into(text, README, describe.tables())
    assert written == text, "python scripts/describe.py --write results/README.md"
    for family in ALL:
        package = family_package(family)
        for each in (*package.METRICS.values(), *package.SPACES):
            assert f"| `{each.name}` | {each.definition} |" in text


@pytest.mark.parametrize(
    "text",
    ["", describe.BEGIN, describe.END + describe.BEGIN, 2 * (describe.BEGIN + describe.END), describe.BEGIN + 2 * describe.END],
)  # fmt: skip
def test_a_page_without_its_two_comments_is_told_and_left_alone(tmp_path, text):
    with pytest.raises(UserError, match=r"page\.md: there must be one line <!-- What follows"):
        describe.laid_into(text, tmp_path / "page.md", "tables")


@pytest.mark.parametrize("family", ALL)
def test_what_metrics_declare_is_whole(family):
    package = family_package(family)
    for name, metric in package.METRICS.items():
        assert name in metric.names
        assert metric.better in ("lower", "higher", "neither")
        low, high = declared.bounds(metric, 10)
        assert low < high
    # They are cells of a table.
    for each in (*package.METRICS.values(), *package.SPACES):
        assert each.definition
        assert not set("|\n") & set(each.definition + each.citation)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_shown_of_a_family_is_declared(family):
    package, claims = family_package(family), importlib.import_module(f"nepotism.families.{family}.claims")
    assert {*package.HEADLINES, *claims.ENDS} <= package.METRICS.keys()


def test_several_metrics_of_one_kind_are_declared_together():
    kind = metrics.Metric("share_<digit>", "share of that digit", "[0, 1]", "neither", several=("0", "1"))
    assert metrics.declared(kind) == {"share_0": kind, "share_1": kind}
    assert kind.direction == ""
    assert len({id(family_package("lm").METRICS[f"perplexity_share_{number:02d}"]) for number in range(48)}) == 1


def test_every_feature_space_that_may_be_asked_for_is_declared():
    schema = yaml.safe_load((ROOT / "resources" / "schemas" / "config.schema.yaml").read_text())
    offered = schema["properties"]["score"]["properties"]["features"]["items"]["enum"]
    assert {*offered, "pixels"} == {space.name for space in metrics.SPACES}


def test_what_is_measured_of_sets_and_images_is_declared():
    assert evaluation.STATISTICS.keys() | set(PER_IMAGE) < metrics.METRICS.keys()
    assert set(evaluation.SHARES) < evaluation.STATISTICS.keys()
    assert evaluation.ONLY_IN.keys() < evaluation.STATISTICS.keys()
    assert {space for spaces in evaluation.ONLY_IN.values() for space in spaces} <= {
        space.name for space in metrics.SPACES
    }


@pytest.mark.parametrize(("metric", "features"), [("fidd", "classifier"), ("fid", "clasifier")])
def test_a_family_whose_score_is_not_declared_is_told(metric, features):
    vae = family_package("vae")
    score_generations.check_declared(vae, [Score("fid", 1.0, 9, features="classifier")])
    with pytest.raises(ValueError, match=f"families.vae: declare the metric '{metric}' .features '{features}'."):
        score_generations.check_declared(vae, [Score(metric, 1.0, 9, features=features)])


def test_what_metrics_are_is_known_without_any_library():
    code = (
        "import sys, describe; describe.tables(); "
        "print(sorted({'numpy', 'scipy', 'pyarrow', 'torch', 'matplotlib'} & sys.modules.keys()))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert made.stdout == "[]\n"


# ---- The worked example of CONTRIBUTING.md

SCORED = """
import json
import numpy as np
from nepotism.measure import evaluation
from nepotism.measure.embeddings import PER_IMAGE, Embedded

def embedded(features):
    count = len(features)
    values = {name: np.linspace(0.1, 0.2, count) for name in PER_IMAGE}
    return Embedded({"conv": features}, values, ["a"] * count, list(map(str, range(count))))

real = embedded(np.eye(12, dtype=np.float32))
place = evaluation.RowKey("x", "none", "25", 0, 1)
found = {}
for name, features in (("different", np.eye(6, 12)), ("copies", np.ones((6, 12))), ("flat", np.zeros((6, 12)))):
    rows = evaluation.compare(place, "samples", embedded(features.astype(np.float32)), evaluation.Reference(real, real))
    found[name] = [[row.value, row.left_out.values, row.n] for row in rows if row.metric == "effective_rank"]
print(json.dumps(found))
"""


def insert(path, after, code):
    text = path.read_text()
    assert text.count(after) == 1
    path.write_text(text.replace(after, after + code))


def test_the_worked_example_of_a_new_metric_is_true(tmp_path):
    """The blocks of CONTRIBUTING.md, put where they belong, make a metric that is scored and described."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a metric")[1].split("\n## ")[0]
    code = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL))
    assert code.keys() == {"METRICS", "scripts/nepotism/measure/scores.py", "STATISTICS"}
    scripts = tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts", scripts, ignore=shutil.ignore_patterns("__pycache__"))
    measure = scripts / "nepotism" / "measure"
    insert(measure / "metrics.py", "METRICS = declared(\n", code["METRICS"])
    insert(measure / "evaluation.py", "Callable[[Sets, scores.Indices], float]] = {\n", code["STATISTICS"])
    with open(measure / "scores.py", "a") as file:
        file.write("\n\n" + code["scripts/nepotism/measure/scores.py"])
    shutil.copy(README, tmp_path)

    def run(*arguments):
        made = subprocess.run([sys.executable, *arguments], cwd=scripts, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        return made.stdout

    found = json.loads(run("-c", SCORED))
    # Six orthogonal images span five directions around their mean, and any five of them four.
    assert found["different"] == [[pytest.approx(5), pytest.approx([4] * 6), 6]]
    assert found["copies"] == found["flat"] == []
    run("describe.py", "--write", "../README.md")
    lines = (tmp_path / "README.md").read_text().splitlines()
    (added,) = set(lines) - set(README.read_text().splitlines())
    assert added.startswith("| `effective_rank` | number of directions in which images differ")
    assert len(lines) == len(README.read_text().splitlines()) + 1
