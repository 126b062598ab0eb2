# Families whose generations are short: one job makes a chunk of them, and its files are called after the last.


localrules:
    family_figure,


rule family_reference:
    input:
        family_downloads,
        family_weights,
    output:
        reference_files,
    log:
        "results/{experiment}/logs/family_reference.log",
    benchmark:
        "results/{experiment}/benchmarks/family_reference.tsv"
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=family_gpu,
        mem_mb=memory_of_generations,
        runtime=grown(30),
    params:
        settings=settings_of("family_reference"),
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads"
        ),
    shell:
        'python "$SCRIPTS/family_reference.py" {params.settings} {params.execution} --output {output} --log {log}'


rule generations:
    input:
        reference=reference_files,
        weights=family_weights,
        models=earlier_models,
        drawn=earlier_samples,
    output:
        mix="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/mix.parquet",
        model=kept_or_not(
            "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/generations.safetensors"
        ),
        samples="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.parquet",
    log:
        "results/{experiment}/logs/generations/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/generations/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=family_gpu,
        mem_mb=memory_of_generations,
        runtime=grown(120),
    params:
        settings=settings_of("generations"),
        cell=chunk_of_generations,
        execution=generation_options,
    shell:
        'python "$SCRIPTS/generations.py" {params.settings} {params.execution} {params.cell}'
        " --reference {input.reference} --models {input.models} --drawn {input.drawn}"
        " --mix {output.mix} --model {output.model} --samples {output.samples} --log {log}"


# Generation 0, fitted to original data, is shared by every cell of a seed whose arm has the same settings.
use rule generations as generation_0 with:
    input:
        reference=reference_files,
        weights=family_weights,
        models=[],
        drawn=[],
    output:
        mix="results/{experiment}/{base}/seed-{seed}/mix.parquet",
        model="results/{experiment}/{base}/seed-{seed}/model/generations.safetensors",
        samples="results/{experiment}/{base}/seed-{seed}/samples.parquet",
    log:
        "results/{experiment}/logs/generation_0/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/generation_0/{base}/seed-{seed}.tsv"
    priority: most_urgent


# Apart from fitting, so that another score fits nothing anew.
rule score_generations:
    input:
        reference=reference_files,
        first=first_model,
        model="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/generations.safetensors",
        samples="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.parquet",
        mix=filtered_manifest,
    output:
        "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/metrics.json",
    log:
        "results/{experiment}/logs/score_generations/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/score_generations/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: scoring_urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=family_gpu,
        mem_mb=memory_of_generations,
        runtime=grown(60),
    params:
        settings=settings_of("score_generations"),
        cell=named_place,
        execution=generation_score_options,
    shell:
        'python "$SCRIPTS/score_generations.py" {params.settings} {params.execution} --experiment {wildcards.experiment} {params.cell}'
        " --reference {input.reference} --first-model {input.first} --model {input.model} --samples {input.samples}"
        " --mix {input.mix} --metrics {output} --log {log}"


use rule score_generations as score_generation_0 with:
    input:
        reference=reference_files,
        first="results/{experiment}/{base}/seed-{seed}/model/generations.safetensors",
        model="results/{experiment}/{base}/seed-{seed}/model/generations.safetensors",
        samples="results/{experiment}/{base}/seed-{seed}/samples.parquet",
        mix=[],
    output:
        "results/{experiment}/{base}/seed-{seed}/metrics.json",
    log:
        "results/{experiment}/logs/score_generation_0/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/score_generation_0/{base}/seed-{seed}.tsv"


rule family_figure:
    input:
        metrics="results/{experiment}/tables/metrics.csv",
        samples=shown_generations,
    output:
        svg=report(
            "results/{experiment}/figures/{figure}.svg",
            caption="../resources/report/family_figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        others=multiext("results/{experiment}/figures/{figure}", ".png", ".csv"),
    log:
        "results/{experiment}/logs/family_figure/{figure}.log",
    wildcard_constraints:
        figure="|".join(family_figures) or "(?!)",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_of("family_figure"),
        caption=lambda wildcards, resources: family_figures[wildcards.figure],
    shell:
        'python "$SCRIPTS/family_figure.py" {params.settings} --figure {wildcards.figure}'
        " --metrics {input.metrics} --samples {input.samples} --output {output} --log {log}"
