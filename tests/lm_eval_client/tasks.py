"""Task files for lm_eval over local documents: the installed definitions with the location of the data replaced."""

import pathlib
import sys

import lm_eval

SPLITS = {
    "wikitext": ("wikitext/wikitext.yaml", "test"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "test"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation"),
    "piqa": ("piqa/piqa.yaml", "validation"),
    "winogrande": ("winogrande/default.yaml", "validation"),
}

data, folder = map(pathlib.Path, sys.argv[1:])
folder.mkdir()
installed = pathlib.Path(lm_eval.__file__).parent / "tasks"
written = []
for task, (definition, split) in SPLITS.items():
    files = {name: data / task / f"{name}.jsonl" for name in ("train", split)}
    files = {name: file for name, file in files.items() if file.exists()}
    if split not in files:
        continue
    lines = [f"include: {installed / definition}", f"task: {task}_local", "dataset_path: json", "dataset_name: null"]
    lines += ["dataset_kwargs:", "  data_files:"] + [f"    {name}: {file}" for name, file in files.items()]
    if split == "test":
        lines.append("tag: null")
    if task == "wikitext":
        lines += ["training_split: null", "validation_split: null"]
    elif "train" not in files and split == "validation":
        lines.append("training_split: null")
    path = folder / f"{task}.yaml"
    path.write_text("\n".join(lines) + "\n")
    written.append(str(path))
print(",".join(written))
