# Images from the retrained model, one per slot; they feed the next iteration. Images for captions that were never trained
# on are drawn where they are scored: another unseen caption must not retrain anything.


rule sample:
    input:
        model=multiext(
            "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/",
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ),
        parent=extrapolated_model,
        real="results/{experiment}/reference/real.parquet",
        base=base_model,
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.parquet",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.png",
    log:
        "results/{experiment}/logs/sample/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("sample"),
        runtime=minutes_of("sample"),
    params:
        settings=settings_of("sample"),
        cell=drawn_cell,
        execution=lambda wildcards, resources: execution_options(grid, *SAMPLING_KEYS),
    shell:
        'python "$SCRIPTS/sample.py" {params.settings} {params.execution}'
        " --real {input.real} {params.cell}"
        " --output {output.images} --sheet {output.sheet} --log {log}"
