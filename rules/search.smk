# The ratio at which collapse begins, by bisection: a checkpoint judges what was run and says what runs next.


localrules:
    search,


checkpoint search:
    input:
        previous=round_before,
        real=judged_against,
        cells=judged_cells,
    output:
        "results/{experiment}/tables/search/{control}/round-{round}.json",
    log:
        "results/{experiment}/logs/search/{control}/round-{round}.log",
    wildcard_constraints:
        control="|".join(arm.name for arm in grid.searching()) or "(?!)",
        round="[1-9][0-9]*",
    priority: most_urgent
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("search"),
        previous=previous_option,
    shell:
        'python "$SCRIPTS/search.py" {params.settings} {params.previous}'
        " --real {input.real} --cells {input.cells} --output {output} --log {log}"
