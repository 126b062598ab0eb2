#!/usr/bin/env bash
# What a GPU is to be asked, in one command of at most eight minutes, on a machine without network.
#     tests/gpu/wheels.sh                              # before, where a package index can be reached
#     tests/gpu/check.sh --out FOLDER                  # the GPU machine: jobs, kill and resume, precisions, memory, speed
#     tests/gpu/check.sh --device cpu --tiny           # the same at tiny shapes on a processor: it runs, no more
# Packages that are missing come from tests/gpu/wheels/, into a folder that goes again.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-$(if [ -x .venv/bin/python ]; then echo "$PWD/.venv/bin/python"; else command -v python3; fi)}
if ! "$PYTHON" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ["cleanfid", "diffusers", "ftfy", "peft", "snakemake"])))'; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
    --target "$site" tests/gpu/wheels/*.whl
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
"$PYTHON" tests/gpu/check.py "$@"
