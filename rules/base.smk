# Iteration 0, shared by every cell of a seed. {base} is `base`, or `base-<control>` for an arm that samples in another way, or
# another base model. What is made once for each of these is called after an arm as well: {model} is `-<control>`, or nothing.


# What can be wrong with the model, the device and the disk, before the first job that uses them. Only another model runs
# it again by itself: all else that it is given is not tracked, or a new batch size would draw iteration 0 anew.
# (Nor would `ancient` do: Snakemake looks for changes only in jobs that do not follow one that has to run.)
rule preflight:
    input:
        base=base_model,
    output:
        "results/{experiment}/preflight{model}.json",
    log:
        "results/{experiment}/logs/preflight{model}.log",
    benchmark:
        "results/{experiment}/benchmarks/preflight{model}.tsv"
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("preflight"),
        runtime=grown(30),
    params:
        execution=lambda wildcards, resources: preflight_options(wildcards),
    shell:
        'python "$SCRIPTS/preflight.py" {params.execution}'
        " --output {output} --log {log}"


rule initial_images:
    input:
        real="results/{experiment}/reference/real.parquet",
        base=base_model,
        preflight=checked_model,
    output:
        images="results/{experiment}/{base}/seed-{seed}/initial_images.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/initial_images.png",
    log:
        "results/{experiment}/logs/initial_images/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/initial_images/{base}/seed-{seed}.tsv"
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("initial_images"),
        runtime=minutes_of("initial_images"),
    params:
        settings=settings_of("initial_images"),
        cell=named_cell,
        execution=lambda wildcards, resources: execution_options(grid, *SAMPLING_KEYS),
    shell:
        'python "$SCRIPTS/initial_images.py" {params.settings} {params.execution}'
        " --real {input.real} {params.cell}"
        " --output {output.images} --sheet {output.sheet} --log {log}"


use rule sample as sample_base with:
    input:
        real="results/{experiment}/reference/real.parquet",
        base=base_model,
        preflight=checked_model,
    output:
        images="results/{experiment}/{base}/seed-{seed}/samples.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/samples.png",
    log:
        "results/{experiment}/logs/sample_base/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample_base/{base}/seed-{seed}.tsv"


use rule score as score_base with:
    input:
        samples="results/{experiment}/{base}/seed-{seed}/samples.parquet",
        initial_images="results/{experiment}/{base}/seed-{seed}/initial_images.parquet",
        reference="results/{experiment}/reference/embeddings.npz",
        base=base_model,
        evaluator=evaluator_files,
    output:
        unseen="results/{experiment}/{base}/seed-{seed}/unseen.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/unseen.png",
        embeddings="results/{experiment}/{base}/seed-{seed}/embeddings.npz",
        metrics="results/{experiment}/{base}/seed-{seed}/metrics.json",
    log:
        "results/{experiment}/logs/score_base/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/score_base/{base}/seed-{seed}.tsv"


# The base model once more, with the noise of an iteration that claims compare with it: what differs then is the model.
use rule sample_base as redraw_base with:
    output:
        images="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/samples.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/samples.png",
    log:
        "results/{experiment}/logs/redraw_base/{base}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/redraw_base/{base}/seed-{seed}/iteration-{iteration}.tsv"


use rule score_base as score_redrawn with:
    input:
        samples="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/samples.parquet",
        reference="results/{experiment}/reference/embeddings.npz",
        base=base_model,
        evaluator=evaluator_files,
    output:
        unseen="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/unseen.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/unseen.png",
        embeddings="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/embeddings.npz",
        metrics="results/{experiment}/{base}/seed-{seed}/iteration-{iteration}/metrics.json",
    log:
        "results/{experiment}/logs/score_redrawn/{base}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/score_redrawn/{base}/seed-{seed}/iteration-{iteration}.tsv"
