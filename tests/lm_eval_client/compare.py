"""Compares the sample files of lm_eval with those of psann, document by document."""

import json
import pathlib
import sys

theirs, ours = map(pathlib.Path, sys.argv[1:])
failed = False
files = sorted(theirs.rglob("samples_*_local_*.jsonl"))
if not files:
    sys.exit(f"lm_eval wrote no samples below {theirs}: nothing was compared")
for file in files:
    task = file.name.removeprefix("samples_").split("_local_")[0]
    (other,) = ours.rglob(f"samples_{task}_*.jsonl")
    samples = [{one["doc_id"]: one for one in map(json.loads, path.read_text().splitlines())} for path in (file, other)]
    keys = ["arguments", "doc_hash", "prompt_hash", "target_hash", "resps", "filtered_resps"]
    if not samples[0]:
        sys.exit(f"{file} has no documents: nothing was compared")
    different = set(samples[0]) ^ set(samples[1])
    for number in set(samples[0]) & set(samples[1]):
        a, b = (side[number] for side in samples)
        if any(a[key] != b[key] for key in keys + a["metrics"]):
            different.add(number)
    print(f"{task}: {len(samples[0])} documents, {len(different)} differ")
    failed |= bool(different)
sys.exit(failed)
