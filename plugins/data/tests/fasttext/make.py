#!/usr/bin/env python3
"""Makes the small models of this folder and what C++ fastText says of them (pip install fasttext-predict==0.9.2.4).

    make.py FOLDER

lid.176.ftz is one kind of model; these are the others: each output layer, dense and quantised matrices with and without
norms, word n-grams, parts of words or none, pruned dictionaries, format version 11. Weights are random: a wrong row,
order or sign shows at once. Same bytes on every run.
"""
import json, random, struct, sys
from pathlib import Path

import fasttext

HS, NS, SOFTMAX, OVA = 1, 2, 3, 4
WORDS = ["</s>", "the", "of", "naïve", "Straße", "日本", "x", "don't", "supercalifragilisticexpialidocious"]
LABELS = ["__label__good", "__label__bad", "__label__odd", "__label__ünï", "__label__e"]
TEXTS = [
    "the naïve Straße of 日本 x don't",
    "unknown words only, all of them",
    "the the the of of",
    "",
    "   blanks \t before\rand\vafter \f ",
    "one </s> nothing after this counts",
    "__label__good is passed over and so is __label__unknown",
    "supercalifragilisticexpialidocious and pneumonoultramicroscopicsilicovolcanoconiosis twice "
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "emoji 👩‍👩‍👧‍👦 combining é e\u0301 \u00a0 no-break\u00a0blank \u2003 \u200b",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "nul\0separates\0words",
    "<angle> <brackets> < >",
]


def floats(count, scale=1.0):
    return struct.pack(f"<{count}f", *(random.uniform(-scale, scale) for _ in range(count)))


def plain(rows, width):
    return struct.pack("<qq", rows, width) + floats(rows * width)


def pieces(width, length):
    count = -(-width // length)
    last = width % length or length
    return count, struct.pack("<iiii", width, count, length, last) + floats(width * 256)


def quantised(rows, width, length, norm):
    count, centroids = pieces(width, length)
    out = struct.pack("<?qqi", norm, rows, width, rows * count) + random.randbytes(rows * count) + centroids
    return out + (random.randbytes(rows) + pieces(1, 1)[1] if norm else b"")


def model(width=7, run=1, loss=SOFTMAX, bucket=50, shortest=0, longest=0, version=12, codes=0, norm=False, out=0, pruned=None):
    """codes, out: numbers of a piece in the input and output matrix, 0 for plain; pruned: buckets that are left"""
    bucket = bucket if run > 1 or longest else 0
    data = struct.pack("<ii", 793712314, version)
    data += struct.pack("<12id", width, 5, 5, 1, 5, run, loss, 3, bucket, shortest, longest, 100, 1e-4)
    data += struct.pack("<iiiqq", len(WORDS) + len(LABELS), len(WORDS), len(LABELS), 1000, -1 if pruned is None else len(pruned))
    for kind, entries in enumerate((WORDS, LABELS)):
        for index, entry in enumerate(entries):
            data += entry.encode() + b"\0" + struct.pack("<qb", 100 - index * index, kind)
    for row, kept in enumerate(pruned or []):
        data += struct.pack("<ii", kept, row)
    rows = len(WORDS) + (bucket if pruned is None else len(pruned))
    data += struct.pack("<?", codes > 0) + (quantised(rows, width, codes, norm) if codes else plain(rows, width))
    data += struct.pack("<?", out > 0)
    return data + (quantised(len(LABELS), width, out, norm) if out else plain(len(LABELS), width))


MODELS = {
    "softmax": {},
    "softmax_parts": dict(shortest=1, longest=3, bucket=31),
    "softmax_runs": dict(run=3, bucket=101),
    "tree_parts_and_runs": dict(loss=HS, run=2, shortest=2, longest=4, width=16),
    "negative_sampling": dict(loss=NS, width=1),
    "one_vs_all_runs": dict(loss=OVA, run=2),
    "version_11": dict(version=11, shortest=2, longest=4),
    "codes": dict(codes=2, shortest=2, longest=5),
    "codes_norm_out": dict(codes=2, norm=True, out=3, run=2, shortest=3, longest=3),
    "codes_pruned": dict(codes=3, width=9, loss=HS, norm=True, run=2, shortest=1, longest=4, pruned=range(0, 50, 3)),
    "codes_pruned_all": dict(codes=4, width=8, loss=OVA, run=2, shortest=1, longest=4, pruned=[]),
}

folder = Path(sys.argv[1])
expected = []
for name, options in MODELS.items():
    random.seed(name)
    path = folder / f"{name}.bin"
    path.write_bytes(model(**options))
    runtime = fasttext.load_model(str(path))
    for text in TEXTS:
        labels, probabilities = runtime.predict(text, k=len(LABELS))
        answer = [[label.removeprefix("__label__"), float(p)] for label, p in zip(labels, probabilities)]
        expected.append({"model": name, "text": text, "expected": answer})
with open(folder / "expected.jsonl", "w") as file:
    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in expected)
