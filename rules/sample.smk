# Images from the retrained model: one per slot, and some for captions that were never trained on. They are two rules,
# because only the first feeds the next iteration: another unseen caption must not retrain anything.


rule sample:
    input:
        model=multiext(
            "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/",
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ),
        real="results/{experiment}/reference/real.parquet",
        base=base_model,
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.parquet",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.png",
    log:
        "results/{experiment}/logs/sample/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: grid.config["how"]["threads"]
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings_of("sample"),
        cell=sampled_cell,
        how=lambda wildcards, resources: grid.how(
            "device", "threads", "sample_batch_size"
        ),
    shell:
        "python scripts/sample.py {params.settings} {params.how}"
        " --real {input.real} {params.cell}"
        " --output {output.images} --sheet {output.sheet} --log {log}"


rule sample_unseen:
    input:
        model=multiext(
            "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/",
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ),
        base=base_model,
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/unseen.parquet",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/unseen.png",
    log:
        "results/{experiment}/logs/sample_unseen/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample_unseen/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: grid.config["how"]["threads"]
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings_of("sample_unseen"),
        cell=sampled_cell,
        how=lambda wildcards, resources: grid.how(
            "device", "threads", "sample_batch_size"
        ),
    shell:
        "python scripts/sample_unseen.py {params.settings} {params.how} {params.cell}"
        " --output {output.images} --sheet {output.sheet} --log {log}"
