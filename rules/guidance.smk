# How the guidance scale of the embedded experiments was chosen: resources/experiments/guidance.yaml. No part of `all`.


localrules:
    guidance,
    choose_guidance,


rule guidance:
    input:
        f"{grid.folder}/tables/guidance.csv",


rule choose_guidance:
    input:
        base_metrics,
    output:
        "results/{experiment}/tables/guidance.csv",
    log:
        "results/{experiment}/logs/choose_guidance.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("choose_guidance"),
    shell:
        'python "$SCRIPTS/choose_guidance.py" {params.settings} --metrics {input} --output {output} --log {log}'
