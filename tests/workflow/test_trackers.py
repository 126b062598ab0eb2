"""Sending scores to a tracker is nobody's condition: the key adds jobs, local ones, and changes no other."""

from conftest import SMOKE

LOG_WITH = "tracking={log_with: tensorboard}"


def test_the_key_adds_a_job_for_each_cell_and_changes_no_other(project):
    plain = project.jobs(*SMOKE)
    assert "track" not in plain
    tracked = project.jobs(*SMOKE, "--config", LOG_WITH)
    assert tracked.pop("track") == 11
    assert tracked == plain
    # Cells one after the other in each chain: the second waits for the first.
    target = "results/smoke/tracking/tensorboard/none/ratio-50/seed-0/iteration-2.json"
    assert project.jobs(target, *SMOKE)["track"] == 2


def test_a_tracker_that_is_none_is_refused(project):
    done = project.snakemake("-n", "--config", "tracking={log_with: paper}", check=False)
    assert done.returncode
    assert "`tracking.log_with`" in done.stdout + done.stderr
