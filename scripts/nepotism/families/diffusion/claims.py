"""The paper's claims, and those on regimes, judged from the table of scores alone.

F is the logarithm of the Frechet distance (FID), b its value for txt2img images of the base model, I the last iteration, C
the mean CLIP score, s the base's within-group standard deviation of it, and delta the logarithm of 1.25. What is compared with
the base model is compared with its images from the same noise: those of the iteration that b, C_b stand beside.

FID at few images is far from 0 for equal distributions too, and this floor dilutes differences of F. So beside each effect on F
stands the same effect on the logarithm of the excess, FID minus that of real images against other real ones at the same number.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nepotism.data.tables import Row
from nepotism.families.diffusion import regime_claims, remedies
from nepotism.families.diffusion.engine_claims import EngineClaims, Fed
from nepotism.families.diffusion.healing import judged_healing
from nepotism.families.diffusion.remedies import Remedy
from nepotism.judge.contrasts import (
    BASE,
    DELTA,
    CellKey,
    Distance,
    MissingError,
    ScoreTable,
    Theta,
    against,
    base_at,
    effect_of,
    mean,
    slope,
)
from nepotism.judge.decisions import NOT_RUN, Decision, Effect, Relation, conjunction
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.verdicts import BETWEEN, CAPTIONS, PIXELS, Claim, Part, joined, render_part

# Claims that need a branch that had degraded.
HEALED = (9, 10, 11)
PAPER, OURS = "paper", "ours"

STATEMENTS = {
    1: ("0 % generated images: the scores stay flat", PAPER),
    2: ("every ratio above 0 % degrades by the last iteration", PAPER),
    3: ("the more generated images, the worse", OURS),
    4: ("the first iteration improves slightly", PAPER),
    5: ("colour matching does not prevent collapse, which comes at the same rate", PAPER),
    6: ("culling low-quality images does not prevent collapse, which comes at the same rate", PAPER),
    7: ("diversity shrinks above 10 %", PAPER),
    8: ("captions never trained on degrade too, 25 % against 0 %", PAPER),
    9: ("healing recovers the Fréchet distance", PAPER),
    10: ("after healing, the spread of the CLIP score stays larger", PAPER),
    11: ("after healing, the CLIP score has almost recovered", PAPER),
    12: ("generated images have more contrast and saturation than real ones", PAPER),
}


@dataclass(frozen=True)
class Arms:
    """Names of the arms that claims are about, None where the experiment has none; how culling pairs images; the arms of
    other regimes, by regime; remedies, by the names of their arms; and arms that are retrained on another model's images."""

    histogram_match: str | None = None
    sifid_cull: str | None = None
    heal: str | None = None
    pair: str | None = None
    regimes: Mapping[str, str] = field(default_factory=dict)
    remedies: Mapping[str, Remedy] = field(default_factory=dict)
    engines: Sequence[Fed] = ()


class Judge:
    """Judges all claims of one table."""

    def __init__(self, scores: ScoreTable, arms: Arms) -> None:
        self.scores, self.arms = scores, arms
        self.healing = judged_healing(scores, arms.heal)
        self.statements = STATEMENTS | (regime_claims.STATEMENTS if arms.regimes else {})
        self.statements |= remedies.statements(arms.remedies)
        # After all others, whose numbers stay.
        self.engines = EngineClaims(scores, arms.engines, max(remedies.FIRST_CLAIM - 1, *self.statements) + 1)
        self.statements |= self.engines.statements
        self.notes: dict[int, str] = self.engines.notes
        self.overruled: dict[tuple[int, str], str] = {}

    # ---- Building blocks

    def _kid(self, space: str) -> Distance:
        return lambda cell, seed: self.scores.value(cell, seed, "kid", space)

    def _part(
        self, claim: int, features: str, statistic: str, relation: Relation, bound: float, theta: Theta
    ) -> Part:  # fmt: skip
        return Part(claim, features, statistic, relation, bound, self.scores.decided(theta, relation, bound))

    def _distance_part(
        self, claim: int, space: str, statistic: str, relation: Relation, bound: float,
        contrast: Callable[[Distance, int], Effect],
    ) -> Part:  # fmt: skip
        """A part on ln FID, and beside it the same contrast of the excess and of KID."""

        def decided(distance: Distance, relation: Relation, bound: float) -> Decision:
            return self.scores.decided(lambda seed: contrast(distance, seed), relation, bound)

        decision = decided(self.scores.log_fid(space), relation, bound)
        if decision.verdict == NOT_RUN:
            return Part(claim, space, statistic, relation, bound, decision)
        excess, kid = decided(self.scores.log_excess(space), relation, bound), decided(self._kid(space), ">", 0)
        return Part(claim, space, statistic, relation, bound, decision, _agreement(decision, kid), excess)

    def _caption_part(
        self, claim: int, statistic: str, relation: Relation, bound: float,
        better: CellKey, worse: CellKey, name: str = "samples", base: CellKey = BASE,
    ) -> Part:  # fmt: skip
        """A part on (C(better) - C(worse)) / s; s is an estimate as well, and without an error there is no interval."""

        def theta(seed: int) -> Effect:
            spread = self.scores.value(base, seed, "clip_score_within_group_sd", name=name)
            one, other = (self.scores.value(cell, seed, "clip_score", name=name) for cell in (better, worse))
            return (one - other) / spread

        return self._part(claim, CAPTIONS, statistic, relation, bound, theta)

    def _difference(
        self,
        one: CellKey,
        other: CellKey,
        metric: str,
        features: str,
        logarithm: bool = False,
    ) -> Theta:
        """One score of a cell minus that of another, or the difference of their logarithms."""

        def theta(seed: int) -> Effect:
            values = [self.scores.value(cell, seed, metric, features) for cell in (one, other)]
            return values[0].log() - values[1].log() if logarithm else values[0] - values[1]

        return theta

    # ---- The claims

    def parts(self) -> Iterator[Part]:
        """Every part of every claim, in every feature space."""
        yield from self._captions()
        for space in self.scores.spaces:
            yield from self._mixtures(space)
            yield from self._control(5, space, self.arms.histogram_match)
            yield from self._diversity(space)
            if self.arms.regimes:
                yield from regime_claims.parts(
                    space, self.arms.regimes, self.scores.ratios_of, self.scores.last, self._distance_part
                )
            yield from remedies.parts(self.scores, space, self.arms.remedies, self._distance_part, self._part)
            yield from self.engines.parts(space, self._distance_part)
        yield from self._healed()
        yield from self._culled()
        yield from self._colours()

    def _mixtures(self, space: str) -> Iterator[Part]:
        last = self.scores.last
        above = [ratio for ratio in self.scores.ratios if float(ratio) > 0]
        real = ("none", "0", last)
        yield self._distance_part(1, space, "F(0,I) - b", "abs <", DELTA, against(real, base_at(last)))
        for ratio in above or ["r"]:
            cell = ("none", ratio, last)
            yield self._distance_part(2, space, f"F({ratio},I) - F(0,I)", ">", DELTA, against(cell, real))
        yield self._distance_part(
            3, space, "slope of F(r,I) on the rank of r", ">", 0.0,
            lambda F, seed: slope([F(("none", ratio, last), seed) for ratio in above]),
        )  # fmt: skip
        yield self._distance_part(
            4, space, "mean of F(r,1) - b over r > 0", "<", 0.0,
            lambda F, seed: mean([F(("none", ratio, 1), seed) for ratio in above]) - F(base_at(1), seed),
        )  # fmt: skip

    def _control(self, claim: int, space: str, arm: str | None) -> Iterator[Part]:
        last, name = self.scores.last, arm or "control"
        yield self._distance_part(
            claim, space, f"F({name},100,I) - F(0,I)", ">", DELTA,
            against((name, "100", last), ("none", "0", last)),
        )  # fmt: skip
        yield self._distance_part(
            claim, space, f"mean over i of F({name},100,i) - F(none,100,i)", "abs <", DELTA,
            lambda F, seed: mean(
                [F((name, "100", i), seed) - F(("none", "100", i), seed) for i in range(1, last + 1)]
            ),
        )  # fmt: skip

    def _culled(self) -> Iterator[Part]:
        """Claim 6; culling that leaves less than half of the images different from one another is another experiment."""
        arm = self.arms.sifid_cull
        for space in self.scores.spaces:
            yield from self._control(6, space, arm)
        shares = []
        for seed in self.scores.seeds:
            for iteration in self.scores.iterations(arm) if arm else []:
                try:
                    row = self.scores.row((str(arm), "100", iteration), seed, "curated", "", "unique_images")
                except MissingError:
                    continue
                shares.append(row.value / row.n)
        notes = []
        if shares and self.arms.pair not in (None, "slot"):
            notes.append(f"images were compared by {self.arms.pair}; the paper, read literally, compares by slot")
        if shares and min(shares) < 0.5:
            self.overruled |= {(6, space): "undecided (starved)" for space in self.scores.spaces}
            notes.append(f"at worst {min(shares):.0%} of the curated images are different ones")
        self.notes[6] = "; ".join(notes)

    def _diversity(self, space: str) -> Iterator[Part]:
        last, real = self.scores.last, ("none", "0", self.scores.last)
        above = [ratio for ratio in self.scores.ratios if float(ratio) > 10]
        for ratio in above or ["r"]:
            cell = ("none", ratio, last)
            distance = self._difference(cell, real, "within_group_distance", space, logarithm=True)
            yield self._part(7, space, f"ln within-group distance, {ratio} against 0", "<", math.log(0.9), distance)
            recall = self._difference(cell, real, "recall", space)
            yield self._part(7, space, f"recall, {ratio} against 0", "<", -0.05, recall)

    def _healed(self) -> Iterator[Part]:
        """Claims 9 to 11. Without healing, nothing of their cell is in the table."""
        end, name = (self.healing.end, self.healing.name) if self.healing else (("heal", "", 0), "heal,end")
        base = base_at(end[2])
        for space in self.scores.spaces:
            yield self._distance_part(9, space, f"F({name}) - b", "<", DELTA, against(end, base))
        spread = self._difference(end, base, "clip_score_within_group_sd", "clip", logarithm=True)
        wider = f"ln within-group sd of the CLIP score, ({name}) over base"
        yield self._part(10, CAPTIONS, wider, ">", math.log(1.1), spread)
        yield self._caption_part(11, f"(C_b - C({name})) / s", "<", 0.5, base, end)
        if self.healing:
            self.notes |= dict.fromkeys(HEALED, self.healing.note)
            for space in self.healing.not_degraded:
                self.overruled |= {(claim, space): "not run: branch not degraded" for claim in HEALED}

    def statement(self, claim: int) -> str:
        """What is claimed; of healing, with the branch that it is judged on."""
        statement, _ = self.statements[claim]
        return f"{statement} ({self.healing.origin})" if claim in HEALED and self.healing else statement

    def _captions(self) -> Iterator[Part]:
        """What CLIP scores say of claims 1, 2 and 8."""
        last, real = self.scores.last, ("none", "0", self.scores.last)
        above = [ratio for ratio in self.scores.ratios if float(ratio) > 0]
        yield self._caption_part(1, "(C_b - C(0,I)) / s", "<", 0.25, base_at(last), real)
        for ratio in above or ["r"]:
            yield self._caption_part(2, f"(C(0,I) - C({ratio},I)) / s", ">", 0.25, real, ("none", ratio, last))
        unseen = "(C(0,I) - C(25,I)) / s, captions never trained on"
        yield self._caption_part(8, unseen, ">", 0.2, real, ("none", "25", last), "unseen")

    def _colours(self) -> Iterator[Part]:
        for metric in ("contrast", "saturation"):

            def theta(seed: int, metric: str = metric) -> Effect:
                real = self.scores.row(BASE, seed, "real", PIXELS, metric)
                if not real.sd:
                    raise MissingError
                generated = self.scores.value(BASE, seed, metric, PIXELS)
                return (generated - effect_of(real)) / real.sd

            yield self._part(12, PIXELS, f"{metric}, generated minus real, in real sd", ">", 0.0, theta)

    # ---- Other settings

    def diagnosed(self, arm: str, base: str, plain: str) -> Iterator[Part]:
        """Claim 2 under an arm's own settings: each of its ratios against 0 % of the same, never against that of other settings.

        Args:
            arm: its name.
            base: the {control} of its iteration 0.
            plain: the arm of its settings that has 0 %.
        """
        ratios = [ratio for ratio in self.scores.ratios_of(arm) if float(ratio) > 0]
        for ratio in ratios:
            last = self.scores.iterations(arm)[-1]
            # What goes on from a finished cell ends later than that which it is compared with.
            cell, real = (arm, ratio, last), (plain, "0", min([last, *self.scores.iterations(plain)[-1:]]))
            captions = f"(C({plain},0,I) - C({arm},{ratio},I)) / s"
            yield self._caption_part(2, captions, ">", 0.25, real, cell, base=(base, "", 0))
            for space in self.scores.spaces:
                statistic = f"F({arm},{ratio},I) - F({plain},0,I)"
                yield self._distance_part(2, space, statistic, ">", DELTA, against(cell, real))


def judge(rows: Sequence[Row], arms: Arms, looks: Looks = ONCE) -> tuple[list[Claim], list[Part]]:
    """All claims, and their parts.

    Args:
        rows: tables/metrics.csv.
        arms: names of the arms that claims are about.
        looks: whether seeds may be added after a look.
    """
    court = Judge(ScoreTable(rows, looks), arms)
    parts = sorted(court.parts(), key=lambda part: part.claim)
    claims = []
    for number, (_, source) in court.statements.items():
        mine = [part for part in parts if part.claim == number]
        # A claim of the Frechet distance, or one that a degraded branch gates, is judged in each feature space; what
        # belongs to none, captions and colours, counts in all of them.
        spaces = [
            space for space in court.scores.spaces if any(part.features == space for part in mine) or number in HEALED
        ]
        by_space: dict[str, str] = {}
        for space in spaces or [part.features for part in mine[:1]] or [""]:
            verdict = conjunction([part.decision for part in mine if part.features in (space, CAPTIONS, PIXELS)])
            overruled = court.overruled.get((number, space))
            by_space[space] = overruled if overruled and verdict != NOT_RUN else verdict
        kid = list(dict.fromkeys(part.kid for part in mine if part.kid))
        claims.append(
            Claim(
                number,
                court.statement(number),
                source,
                joined(by_space),
                BETWEEN.join(map(render_part, mine)),
                BETWEEN.join(kid),
                court.notes.get(number, ""),
            )
        )
    return claims, parts


def diagnose(
    rows: Sequence[Row], arms: Mapping[str, str], plain: Mapping[str, str] | None = None, looks: Looks = ONCE
) -> list[Part]:
    """What becomes of arms with other settings, each against 0 % of the same: is it collapse, or the setting?

    Args:
        rows: tables/metrics.csv.
        arms: names of arms with settings of their own, each with the {control} of its iteration 0.
        plain: for those without a 0 % of their own, the arm that has it.
        looks: whether seeds may be added after a look.
    """
    with_zero = {arm: (plain or {}).get(arm, arm) for arm in arms}
    court = Judge(ScoreTable(rows, looks), Arms())
    return [part for arm, base in arms.items() for part in court.diagnosed(arm, base, with_zero[arm])]


def _agreement(fid: Decision, kid: Decision) -> str:
    """Whether KID points to the same side as FID; it cannot be told while KID's interval contains 0."""
    if fid.value is None or kid.value is None:
        return ""
    if kid.low is None or kid.high is None or kid.low <= 0 <= kid.high:
        return "cannot be told"
    return "agrees" if (fid.value > 0) == (kid.value > 0) else "disagrees"
