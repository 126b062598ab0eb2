# Images from the retrained model: one per slot, and some for captions that were never trained on.


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
        samples="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.parquet",
        unseen="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/unseen.parquet",
        samples_sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.png",
        unseen_sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/unseen.png",
    log:
        "results/{experiment}/logs/sample/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["how"]["threads"]
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings_of("sample"),
        how=lambda wildcards, resources: grid.how(
            "device", "threads", "sample_batch_size"
        ),
    shell:
        "python scripts/sample.py {params.settings} {params.how}"
        " --model $(dirname {input.model[0]:q}) --real {input.real}"
        " --cell {wildcards.control}/ratio-{wildcards.ratio}/seed-{wildcards.seed}/iteration-{wildcards.iteration}"
        " --seed {wildcards.seed} --iteration {wildcards.iteration}"
        " --samples {output.samples} --unseen {output.unseen}"
        " --samples-sheet {output.samples_sheet} --unseen-sheet {output.unseen_sheet} --log {log}"
