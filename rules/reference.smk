# Real images, and what the frozen encoders, of each base model, and the evaluators say of them.


rule reference:
    input:
        selection=selected_images,
    output:
        real="results/{experiment}/reference/real.parquet",
        holdout="results/{experiment}/reference/holdout.parquet",
    log:
        "results/{experiment}/logs/reference.log",
    benchmark:
        "results/{experiment}/benchmarks/reference.tsv"
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=memory_of("reference"),
        runtime=grown(30),
    params:
        settings=settings_of("reference"),
        selection=selection_option,
        execution=lambda wildcards, resources: checks_of_reference(grid),
    shell:
        'python "$SCRIPTS/reference.py" {params.settings} {params.execution} {params.selection}'
        " --real {output.real} --holdout {output.holdout} --log {log}"


# Those that are reserved for the training sets of an iteration, or for detectors.
rule fresh_images:
    input:
        selection=selected_images,
    output:
        "results/{experiment}/reference/fresh/{set}.parquet",
    log:
        "results/{experiment}/logs/fresh_images/{set}.log",
    benchmark:
        "results/{experiment}/benchmarks/fresh_images/{set}.tsv"
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=memory_of("reference"),
        runtime=grown(30),
    params:
        settings=settings_of("reference"),
        selection=selection_option,
        sets=fresh_sets_up_to,
    shell:
        'python "$SCRIPTS/fresh_images.py" {params.settings} {params.selection} {params.sets} --output {output} --log {log}'


rule encode:
    input:
        real="results/{experiment}/reference/real.parquet",
        base=base_model,
        preflight=checked_model,
    output:
        "results/{experiment}/reference/latents{model}.safetensors",
    log:
        "results/{experiment}/logs/encode{model}.log",
    benchmark:
        "results/{experiment}/benchmarks/encode{model}.tsv"
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("encode"),
        runtime=grown(30),
    params:
        settings=settings_of("encode"),
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads"
        ),
    shell:
        'python "$SCRIPTS/encode.py" {params.settings} {params.execution}'
        " --real {input.real} --output {output} --log {log}"


use rule encode as encode_fresh with:
    input:
        real="results/{experiment}/reference/fresh/{set}.parquet",
        base=base_model,
        preflight=checked_model,
    output:
        "results/{experiment}/reference/fresh/{set}{model}.safetensors",
    log:
        "results/{experiment}/logs/encode_fresh/{set}{model}.log",
    benchmark:
        "results/{experiment}/benchmarks/encode_fresh/{set}{model}.tsv"


rule embed_reference:
    input:
        real="results/{experiment}/reference/real.parquet",
        holdout="results/{experiment}/reference/holdout.parquet",
        evaluator=evaluator_files,
        preflight="results/{experiment}/preflight.json",
    output:
        "results/{experiment}/reference/embeddings.npz",
    log:
        "results/{experiment}/logs/embed_reference.log",
    benchmark:
        "results/{experiment}/benchmarks/embed_reference.tsv"
    # The first job that loads the evaluators: what is wrong with them shows before anything is trained.
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("embed_reference"),
        runtime=grown(30),
    params:
        settings=settings_of("embed_reference"),
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads", "embed_batch_size"
        ),
    shell:
        'python "$SCRIPTS/embed_reference.py" {params.settings} {params.execution}'
        " --real {input.real} --holdout {input.holdout} --output {output} --log {log}"
