"""The default experiment: what a newcomer sees first, with two of its four seeds."""

import csv

import pytest
from nepotism.judge.contrasts import DELTA

# As many as it takes to see it; all four take ten minutes of two cores.
HALF = ("--config", "seeds=[0,1]")


@pytest.mark.slow
def test_the_default_experiment_collapses_and_judges_its_claims(project):
    project.snakemake("--cores", "2", *HALF, timeout=3600)
    tables = project.folder / "results" / "faces" / "tables"
    with open(tables / "claims.csv", newline="") as file:
        claims = list(csv.DictReader(file))
    assert [int(claim["claim"]) for claim in claims] == list(range(1, 13))
    # What they say is measured, and may differ between processors; that there is something to say is what this run is for.
    assert not [claim["claim"] for claim in claims if claim["verdict"].startswith("not run")]
    with open(tables / "claim_details.csv", newline="") as file:
        details = list(csv.DictReader(file))
    collapse = [part for part in details if part["claim"] == "2" and part["statistic"].startswith("F(100,I)")]
    # Whether seeds decide it in both feature spaces is left to them; on average it is far beyond what counts.
    assert {part["features"]: float(part["value"]) > DELTA for part in collapse} == {"clip": True, "conv": True}
    assert project.jobs(*HALF) == {}, "a second run has nothing to do"
