# Weights from the network, staged once into resources/models/ and shared by all experiments. These jobs run where
# Snakemake runs, because compute nodes often have no network.


localrules:
    stage_weights,
    stage_deepface,


rule stage_weights:
    output:
        "resources/models/{weights}/SHA256SUMS",
    log:
        "resources/models/logs/{weights}.log",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=staging_source,
    shell:
        "python scripts/stage_weights.py {params.settings} --folder resources/models/{wildcards.weights} --log {log}"


rule stage_deepface:
    output:
        "resources/models/deepface/SHA256SUMS",
    log:
        "resources/models/logs/deepface.log",
    conda:
        "../envs/faces.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        "python scripts/stage_deepface.py --folder resources/models/deepface --log {log}"
