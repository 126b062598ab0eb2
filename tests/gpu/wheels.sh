#!/usr/bin/env bash
# Where a package index can be reached: collect the wheels that tests/gpu/check.sh brings to a machine without network
# (Python 3.12 on x86-64 Linux; torch, transformers, accelerate, torchmetrics, scikit-image and pyarrow are there).
#     tests/gpu/wheels.sh
set -euo pipefail
cd "$(dirname "$0")"
PYTHON=${PYTHON:-$(if [ -x ../../.venv/bin/python ]; then echo ../../.venv/bin/python; else echo python3; fi)}
rm -rf wheels
platforms=()
# pip takes each of them by its exact name only.
for name in manylinux_2_34 manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux_2_5 manylinux1; do
  platforms+=(--platform "${name}_x86_64")
done
"$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --python-version 3.12 --implementation cp "${platforms[@]}" --dest wheels --requirement wheels.txt
du -sh wheels
