"""What the pages say can be followed: links, pictures, commands, experiment files and counts are there. Nothing is run."""

import argparse
import importlib
import os
import re
import shlex
import sys
from urllib.parse import unquote

import pytest
import yaml
from conftest import ROOT
from nepotism.experiment.cells import cell_in
from nepotism.families.diffusion import regime_claims
from nepotism.families.diffusion.claims import STATEMENTS
from nepotism.plan import configfiles
from nepotism.plan.budgets import state_bytes
from nepotism.plan.config import checked
from nepotism.plan.forecast import checkpoint_bytes, forecast, groups
from nepotism.plan.grid import Grid
from snakemake.cli import get_argument_parser

DOCS = sorted((ROOT / "docs").rglob("*.md"))
COMMANDED = [ROOT / "README.md", ROOT / "results" / "README.md", *DOCS]
# What CONTRIBUTING.md shows is put where it belongs and run by tests of its own.
LINKED = [*COMMANDED, ROOT / "CONTRIBUTING.md", ROOT / "profiles" / "slurm" / "README.md"]
RULES = "\n".join(path.read_text() for path in [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))])
MAKEFILE = (ROOT / "Makefile").read_text()
PROGRAMS = ("make", "snakemake", "python")


def named(path):
    return str(path.relative_to(ROOT))


def blocks(text):
    """Code of a page: indented, or between fences."""
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"(?:^(?: {4,}).*\n)+", plain, re.MULTILINE)


def commands(path):
    """The commands of a page, as words: of its blocks, and those that its sentences show."""
    text = path.read_text()
    lines = "\n".join(blocks(text)).replace("\\\n", " ").splitlines()
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    for line in lines:
        if re.match(rf"\s*(\.venv/bin/)?({'|'.join(PROGRAMS)}) \S", line):
            words = shlex.split(line.split(" | ")[0].split(" > ")[0], comments=True)
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


COMMANDS = [(named(path), words) for path in COMMANDED for words in commands(path)]


def of(program):
    found = [
        pytest.param(page, words[1:], id=f"{page}: {' '.join(words)}")
        for page, words in COMMANDS
        if words[0] == program
    ]
    return pytest.mark.parametrize(("page", "words"), found)  # fmt: skip


def experiment_files(path):
    """Experiment files that a page shows, by name: YAML whose first line is a comment with the path."""
    shown = r"^```yaml\n# (resources/experiments/\S+\.yaml)\n(.*?)^```"
    return dict(re.findall(shown, path.read_text(), re.DOTALL | re.MULTILINE))


# By name; no two pages show different ones of one name.
SHOWN = {name: text for path in LINKED for name, text in experiment_files(path).items()}


def resolved(files, words=()):
    """The checked configuration of a command: the default's with files, which exist or stand on a page, and words over it."""
    config = configfiles.read(ROOT / "workflow_config.yaml")
    for file in files:
        above = yaml.safe_load(SHOWN[file]) if file in SHOWN else configfiles.read(ROOT / file)
        config = configfiles.laid_over(config, above)
    return checked(configfiles.laid_over(config, configfiles.of_command_line(words)))


# ---- The pages themselves


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def anchors(path):
    """What GitHub calls the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path):
    """Where links and pictures of a page point."""
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`", "", path.read_text()))


@pytest.mark.parametrize("path", LINKED, ids=named)
def test_links_and_pictures_are_there(path):
    for link in links(path):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{named(path)}: {link}"
        assert not anchor or anchor in anchors(file), f"{named(path)}: {link}; there are: {sorted(anchors(file))}"


def test_every_page_is_reached_from_the_first():
    seen, left = set(), [ROOT / "README.md"]
    while left:
        path = left.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        left += [(path.parent / link.partition("#")[0]).resolve() for link in links(path)]
    assert set(DOCS) <= seen


def test_every_picture_of_the_docs_is_shown():
    shown = "\n".join(path.read_text() for path in LINKED)
    assert [
        file.name for file in (ROOT / "docs").rglob("*") if file.suffix in (".png", ".svg") and file.name not in shown
    ] == []


@pytest.mark.parametrize("path", LINKED, ids=named)
def test_files_of_the_project_that_sentences_name_are_there(path):
    folders = "docs|envs|profiles|resources|rules|scripts|tests"
    code = re.findall(r"`([^`\s]+)`", path.read_text())
    files = [word.rstrip("/") for word in code if re.fullmatch(rf"(?:{folders})/[\w./-]+", word)]
    files = [file for file in files if file not in SHOWN]
    # Where weights and data go, which no checkout has; and what a reader of CONTRIBUTING.md makes.
    files = [file for file in files if not file.startswith(("resources/models", "resources/ffhq", "tests/gpu/wheels/"))]
    assert [file for file in files if not (ROOT / file).exists()] == []


# ---- Commands


def test_commands_are_found():
    programs = [words[0] for _, words in COMMANDS]
    assert min(map(programs.count, ("make", "snakemake", "python"))) > 10


@of("make")
def test_make_knows_its_targets_and_experiments(page, words):
    for word in words:
        name, given, value = word.partition("=")
        if given:
            assert f"{name} ?=" in MAKEFILE
            if name == "EXPERIMENT" and value != "faces":
                file = f"resources/experiments/{value}.yaml"
                assert (ROOT / file).is_file() or file in SHOWN
        elif name.startswith(".venv/"):
            assert (ROOT / "envs" / f"{name.removeprefix('.venv/')}.txt").is_file()
        else:
            assert re.search(rf"^{re.escape(name)}:", MAKEFILE, re.MULTILINE)


@of("snakemake")
def test_snakemake_knows_its_options_and_targets(page, words, capsys):
    try:
        given, left = get_argument_parser(profiles=[]).parse_known_args(words)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    # Those of the plug-in for SLURM are known where it is installed.
    assert all(word.startswith("--slurm-") for word in left)
    if given.snakefile:
        assert (ROOT / given.snakefile).is_file()
        return
    for profile in given.profile or []:
        assert (ROOT / profile / "config.yaml").is_file()
    grid = Grid(resolved(map(str, given.configfile or []), given.config or []))
    for target in given.targets:
        told = check_target(grid, target)
        # A page may show what is told of a cell that is not there.
        assert told is None or f"\n> {told}" in (ROOT / page).read_text()
    if given.report and words[-1] != "--report":
        assert given.report.parts[:-1] == (*grid.folder.split("/"),)


def check_target(grid, target):
    """A target is a rule, or a file that a rule makes; what is told if it lies in a cell that the grid does not have."""
    if not target.startswith("results/"):
        assert re.search(rf"^rule {target}:", RULES, re.MULTILINE), target
        return None
    made = re.findall(r'"(results/\{experiment\}/[^"]+)"', RULES)
    patterns = [re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(file)) for file in made]
    assert any(re.fullmatch(pattern, target) for pattern in patterns), target
    assert target.startswith(f"{grid.folder}/")
    try:
        if cell := cell_in(target):
            grid.parent(cell)
    except ValueError as error:
        return str(error)
    return None


@of("python")
def test_scripts_are_there_and_know_their_options(page, words, monkeypatch, capsys):
    file, *options = words
    assert (ROOT / file).is_file()
    if not file.startswith("scripts/"):
        text = (ROOT / file).read_text() + (ROOT / "tests" / "benchmark" / "timing.py").read_text()
        assert [word for word in options if word.startswith("--") and f'"{word}"' not in text] == []
        return
    parse = argparse.ArgumentParser.parse_args

    def parsed(self, *arguments):
        parse(self, *arguments)
        # As --help does: nothing is run.
        raise SystemExit(0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(sys, "argv", [file, *options])
    script = importlib.import_module(os.path.basename(file).removesuffix(".py"))
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0, capsys.readouterr().err
    for word in options:
        if word.startswith("resources/experiments/"):
            resolved([word])


@pytest.mark.parametrize("path", COMMANDED, ids=named)
def test_experiment_files_and_arms_that_a_page_shows_are_right(path):
    for file in experiment_files(path):
        # What scripts/plan.py writes is the same experiment with more seeds.
        assert resolved([file])["experiment"] == os.path.basename(file).removesuffix(".yaml").removesuffix("-more")
    for shown in re.findall(r"^```yaml\n(?!# )(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        checked(configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), yaml.safe_load(shown)))


# ---- What pages count and list


def test_the_pages_of_the_paper_say_what_the_forecast_says():
    grid = Grid(resolved(["resources/experiments/paper.yaml"]))
    expected = forecast(grid, groups(dict(grid.config)), 1)
    disk = f"{expected.peak_bytes / 1e9:.0f} GB"
    page = (ROOT / "docs" / "how-to" / "paper.md").read_text()
    assert f"| retraining | {expected.trained / 1e6:.3g} million images |" in page
    assert f"| sampling | {expected.passes / 1e6:.3g} million network passes |" in page
    assert f"| disk | **{disk} at most**, {expected.final_bytes / 1e9:.0f} GB at the end |" in page
    assert re.sub(r"\s+", " ", (ROOT / "README.md").read_text()).count(f"**{disk} of disk at most**") == 1


@pytest.mark.parametrize("name", ["paper-sdxl", "paper-sd35", "paper-prx"])
def test_the_page_says_what_models_of_today_take(name):
    grid = Grid(resolved([f"resources/experiments/{name}.yaml"]))
    expected = forecast(grid, groups(dict(grid.config)), 1)
    memory = state_bytes(expected.denoiser, grid.config["finetune"]) / 2**30
    (line,) = re.findall(rf"^\| `{name}` \|.*$", (ROOT / "docs" / "how-to" / "paper.md").read_text(), re.MULTILINE)
    assert f", {round(expected.denoiser.parameters / 1e6):,} million" in line
    assert line.endswith(
        f"| {grid.config['model']['resolution']} | {expected.passes / 1e6:.2f} million | {memory:.1f} GiB | "
        f"{expected.peak_bytes / 1e9:.0f} GB | unmeasured |"
    )
    checkpoint = checkpoint_bytes(expected.denoiser, grid.config["finetune"]) / 1e9
    assert (
        f"# a checkpoint has {checkpoint:.1f} GB\n" in (ROOT / "resources" / "experiments" / f"{name}.yaml").read_text()
    )


def test_the_page_of_results_names_every_file():
    text = (ROOT / "results" / "README.md").read_text()
    made = re.findall(r'"results/\{experiment\}/([^"]+)"', RULES)
    names = {os.path.basename(file) for file in made if not file.startswith(("logs", "benchmarks"))}
    fixed = {name for name in names if name and "{" not in name and not re.match(r"figure-\d", name)}
    assert len(fixed) > 20
    # Sets of images have a contact sheet of their name, and latents are told beside them.
    assert {name for name in fixed if name not in text and name.replace(".png", ".parquet") not in text} == set()


def test_the_page_of_statistics_has_every_claim_on_diffusion_models():
    text = (ROOT / "docs" / "explanation" / "statistics.md").read_text()
    for number, (statement, _) in (STATEMENTS | regime_claims.STATEMENTS).items():
        assert f"| {number} | {statement} " in text


def test_the_reference_lists_every_experiment():
    text = (ROOT / "docs" / "reference" / "README.md").read_text().split("## Experiments")[1].split("\n## ")[0]
    listed = set(re.findall(r"`([\w-]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    assert listed == {"faces", *(file.stem for file in (ROOT / "resources" / "experiments").glob("*.yaml"))}
