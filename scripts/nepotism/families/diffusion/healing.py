"""Which branch healing is judged on: claims 9 to 11 need one that had degraded.

That is the paper's 25 % where it had degraded in every feature space, else the largest ratio that was healed, which is the
likeliest to have. The choice depends only on what came before healing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nepotism.judge.contrasts import DELTA, CellKey, ScoreTable, against, base_at
from nepotism.judge.decisions import Decision

PAPERS_RATIO = "25"


@dataclass(frozen=True)
class Healing:
    """What claims 9 to 11 compare, and whether there was something to heal.

    Attributes:
        end: the last cell of healing.
        branch: the cell that healing went on from.
        gates: in each feature space, whether the branch's F exceeds the base model's by more than delta.
        instead: why it is not the paper's branch; empty if it is, or if that was not healed.
    """

    end: CellKey
    branch: CellKey
    gates: Mapping[str, Decision]
    instead: str = ""

    @property
    def name(self) -> str:
        """Of the last cell, in statistics."""
        return f"heal,{self.end[1]},end"

    @property
    def origin(self) -> str:
        """Of what was healed, in statements."""
        return f"from {self.branch[1]} % after iteration {self.branch[2]}"

    @property
    def not_degraded(self) -> list[str]:
        """The feature spaces in which there was nothing to heal: what was not ill cannot recover."""
        return [space for space, gate in self.gates.items() if not _degraded(gate)]

    @property
    def note(self) -> str:
        """What to know about the branch."""
        notes = [self.instead] if self.instead else []
        if any(self.gates[space].value is not None for space in self.not_degraded):
            _, ratio, after = self.branch
            notes.append(f"{ratio} % after iteration {after}: F - b must exceed {DELTA:.3f} with its whole interval")
        return "; ".join(notes)


def judged_healing(scores: ScoreTable, arm: str | None) -> Healing | None:
    """What is judged of a healing arm; None if nothing was healed.

    Args:
        scores: the table of scores.
        arm: its name, None where the experiment has none.
    """
    if arm is None or not (iterations := scores.iterations(arm)):
        return None

    def healed_from(ratio: str, instead: str = "") -> Healing:
        branch = ("none", ratio, iterations[0] - 1)
        gates = {space: _gate(scores, space, branch) for space in scores.spaces}
        return Healing((arm, ratio, iterations[-1]), branch, gates, instead)

    ratios = scores.ratios_of(arm)
    largest = ratios[-1]
    if PAPERS_RATIO not in ratios:
        return healed_from(largest)
    papers = healed_from(PAPERS_RATIO)
    # What was not run has not failed to degrade.
    spaces = [space for space in papers.not_degraded if papers.gates[space].value is not None]
    if largest == PAPERS_RATIO or not spaces:
        return papers
    where = "" if spaces == scores.spaces else f" in {', '.join(spaces)}"
    return healed_from(largest, f"{PAPERS_RATIO} % had not degraded{where}: judged from {largest} %")


def _gate(scores: ScoreTable, space: str, branch: CellKey) -> Decision:
    contrast, log_fid = against(branch, base_at(branch[2])), scores.log_fid(space)
    return scores.decided(lambda seed: contrast(log_fid, seed), ">", DELTA)


def _degraded(gate: Decision) -> bool:
    """With its whole interval, of any number of seeds."""
    return gate.low is not None and gate.low > DELTA
