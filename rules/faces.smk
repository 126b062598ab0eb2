# FFHQ's faces: labelled by DeepFace in shards, or by a table, and a seeded draw from each group.


rule classify_faces:
    input:
        weights=face_weights,
    output:
        "results/{experiment}/reference/labels/shard-{shard}.parquet",
    log:
        "results/{experiment}/logs/classify_faces/shard-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/classify_faces/shard-{shard}.tsv"
    conda:
        "../envs/faces.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        mem_mb=grown(4000),
        runtime=grown(60),
    params:
        settings=settings_of("classify_faces"),
        execution=lambda wildcards, resources: execution_options(grid, "threads"),
    shell:
        'python "$SCRIPTS/classify_faces.py" {params.settings} {params.execution} --shard {wildcards.shard}'
        " --output {output} --log {log}"


rule select_images:
    input:
        labels=face_labels,
    output:
        report(
            "results/{experiment}/reference/selection.csv",
            caption="../resources/report/selection.rst",
            category="Tables",
            labels={"table": "chosen faces"},
        ),
    log:
        "results/{experiment}/logs/select_images.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=grown(4000),
        runtime=grown(15),
    params:
        settings=settings_of("select_images"),
        execution=lambda wildcards, resources: options(
            {"fresh_sets": grid.fresh_sets()}
        ),
    shell:
        'python "$SCRIPTS/select_images.py" {params.settings} {params.execution} --labels {input.labels:q} --output {output} --log {log}'


# Faces that are reserved for a single use.
use rule select_images as select_fresh with:
    output:
        "results/{experiment}/reference/fresh/{set}.csv",
    log:
        "results/{experiment}/logs/select_fresh/{set}.log",
    params:
        settings=settings_of("select_images"),
        execution=lambda wildcards, resources: f"{fresh_sets_up_to(wildcards)} --fresh",
