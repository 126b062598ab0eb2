# Weights from the network, staged once into resources/models/ and shared by all experiments. These jobs run where
# Snakemake runs, because compute nodes often have no network.


localrules:
    stage_weights,
    stage_deepface,


rule stage_weights:
    output:
        f"{in_project(FOLDER)}/{{weights}}/SHA256SUMS",
    log:
        f"{in_project(FOLDER)}/logs/{{weights}}.log",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=staging_source,
    shell:
        'python "$SCRIPTS/stage_weights.py" {params.settings} --folder "$(dirname {output:q})" --log {log:q}'


rule stage_deepface:
    output:
        f"{in_project(FOLDER)}/deepface/SHA256SUMS",
    log:
        f"{in_project(FOLDER)}/logs/deepface.log",
    conda:
        "../envs/faces.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        'python "$SCRIPTS/stage_deepface.py" --folder "$(dirname {output:q})" --log {log:q}'
