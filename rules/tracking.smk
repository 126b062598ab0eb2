# Scores to an experiment tracker, cell by cell, where the config names one. No other rule needs anything of it.


localrules:
    track,


rule track:
    input:
        metrics=tracked_metrics,
        before=tracked_before,
    output:
        "results/{experiment}/tracking/{tracker}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.json",
    log:
        "results/{experiment}/logs/track/{tracker}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    wildcard_constraints:
        tracker="tensorboard|wandb|mlflow|trackio",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("track"),
        before=tracked_before_option,
        # What it says is for people: none of it makes scores other ones.
        configuration="results/{experiment}/config.json",
    shell:
        'python "$SCRIPTS/track.py" {params.settings} --log-with {wildcards.tracker} --project {wildcards.experiment}'
        " --run {wildcards.control}/ratio-{wildcards.ratio}/seed-{wildcards.seed} --iteration {wildcards.iteration}"
        " --metrics {input.metrics} {params.before} --configuration {params.configuration} --output {output} --log {log}"
