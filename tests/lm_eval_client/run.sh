#!/bin/sh
# Scores a model through lm_eval's HTTP client and through `psann evaluate`, and compares what both wrote down.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
[ $# -ge 2 ] || { echo "usage: run.sh MODEL DATA [--limit N]" >&2 && exit 2; }
model=$(readlink -f -- "$1")
data=$(readlink -f -- "$2")
shift 2
cache=${PSANN_LM_EVAL:-${XDG_CACHE_HOME:-$HOME/.cache}/psann/lm_eval-0.4.13}
psann=${PSANN:-$here/../../psann}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

if [ ! -x "$cache/bin/lm_eval" ]; then
    { python3 -m venv "$cache" && "$cache/bin/pip" install --quiet 'lm_eval[api]==0.4.13' transformers; } || {
        echo "SKIPPED: lm_eval 0.4.13 cannot be installed here" >&2
        exit 0
    }
fi
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME="$work/hub" TOKENIZERS_PARALLELISM=false

tasks=$(PYTHONPATH= "$cache/bin/python" "$here/tasks.py" "$data" "$work/tasks")
names=$(basename -a $(echo "$tasks" | tr ',' ' ') | sed 's/\.yaml$//' | paste -sd, -)
context=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["max_position_embeddings"])' "$model/config.json")

"$psann" serve "$model" --port 0 --model-name model >"$work/address" 2>"$work/server.log" &
server=$!
until [ -s "$work/address" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2 && exit 1; }
    sleep 1
done
# The client asks for one token less than `max_length`, and for two less in rolling windows.
"$cache/bin/lm_eval" run --model local-completions --tasks "$tasks" --log_samples --output_path "$work/theirs" \
    --model_args "model=model,base_url=$(cat "$work/address")/v1/completions,tokenizer=$model,tokenizer_backend=huggingface,max_length=$((context + 2)),num_concurrent=8" \
    --batch_size 4 ${CHAT:+--apply_chat_template} "$@"
"$psann" evaluate "$model" --tasks "$names" --data "$data" --output "$work/ours" ${CHAT:+--chat-template} "$@"
"$cache/bin/python" "$here/compare.py" "$work/theirs" "$work/ours"
