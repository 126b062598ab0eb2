# Ratios that searches ask for while Snakemake runs: functions only.
from nepotism.experiment.search import ROUNDS
from nepotism.plan.searching import follow
from nepotism.plan.thresholds import mapped


def asked_ratio(arm, number):
    """The ratio that an arm's search asks for in a round; None if it has ended before.

    Snakemake waits for that round: it plans what the round asks for as soon as it has ended.
    """
    for earlier in range(1, number + 1):
        checkpoints.search.get(
            experiment=grid.experiment, control=arm.name, round=earlier
        )
        follow(grid, Path(grid.folder))
        if len(grid.found[arm.name]) < earlier:
            return None
    return grid.found[arm.name][number - 1]


def of_searches(files):
    """An input function for each ratio that a search may ask for: ``files`` of the cells at that ratio.

    One for each, so that whatever is known is asked for while the next round is waited for, and several arms search side by side.
    """

    def of_round(arm, number):
        def asked(wildcards):
            ratio = asked_ratio(arm, number)
            return [] if ratio is None else files(grid.chains(arm, ratio))

        return asked

    return [
        of_round(arm, number)
        for arm in grid.searching()
        for number in range(1, arm.search.most + 1)
    ]


searched_metrics = of_searches(metrics_of)


def asked_cells():
    """All cells, once searches have ended."""
    for arm in grid.searching():
        asked_ratio(arm, arm.search.most + 1)
    return grid.cells()


def ends_of_chains(arm, ratio):
    """The cells by which a ratio is judged."""
    return [cell for cell in grid.chains(arm, ratio) if cell.iteration == arm.last]


def round_before(wildcards):
    number = int(wildcards.round) - 1
    folder = f"{grid.folder}/{ROUNDS}/{wildcards.control}"
    return f"{folder}/round-{number}.json" if number else []


def previous_option(wildcards, input):
    return f"--previous {input.previous}" if input.previous else ""


def judged_against(wildcards):
    """Scores of the plain mixture of the arm's settings at 0 %."""
    (plain,) = (plain for arm, plain in mapped(grid) if arm.name == wildcards.control)
    last = grid.arm(wildcards.control).last
    cells = [cell for cell in grid.chains(plain, "0") if cell.iteration == last]
    return metrics_of(cells)


def judged_cells(wildcards):
    """Scores of the ratios that a round judges: the search's ends first, then what the round before has asked for."""
    arm, number = grid.arm(wildcards.control), int(wildcards.round)
    ratios = [end for end in arm.search.ends if end != "0"]
    if number > 1:
        ratios = [asked_ratio(arm, number - 1)]
        if ratios == [None]:
            raise WorkflowError(
                f"the search of the arm '{arm.name}' has ended before round {number}. Ask for an earlier one."
            )
    return metrics_of(cell for ratio in ratios for cell in ends_of_chains(arm, ratio))
