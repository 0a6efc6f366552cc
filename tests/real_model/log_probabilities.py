"""An independent forward pass of a Llama in a Hugging Face folder: numpy, one text at a time, no cache.

    python3 log_probabilities.py MODEL DATA COUNT > expected.jsonl

Takes COUNT texts from the evaluation sets in DATA, in turn from each, and writes for each its text, its token ids and
the natural logarithm of the probability of every token after the first. Weights and products are float32 as in the
file; norms, softmax and log-sum-exp are float64.
"""

import json
import pathlib
import struct
import sys

import numpy
import tokenizers

SETS = {
    "lambada_openai/test.jsonl": lambda row: row["text"],
    "hellaswag/validation.jsonl": lambda row: f"{row['ctx']} {row['endings'][int(row['label'])]}",
    "piqa/validation.jsonl": lambda row: f"Question: {row['goal']}\nAnswer: {row['sol1']}",
    "winogrande/validation.jsonl": lambda row: row["sentence"].replace("_", row["option1"]),
}


def texts(data, count):
    rows = [[of(json.loads(line)) for line in (data / path).read_text().split("\n")[:count]] for path, of in SETS.items()]
    return [text for together in zip(*rows) for text in together][:count]


def read_safetensors(path):
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r")
    size = struct.unpack("<Q", data[:8].tobytes())[0]
    header = json.loads(data[8 : 8 + size].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        begin, end = (8 + size + offset for offset in info["data_offsets"])
        tensors[name] = data[begin:end].view("<f4").reshape(info["shape"])
    return tensors


class Model:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = read_safetensors(folder / "model.safetensors")
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def norm(self, x, name):
        wide = x.astype(numpy.float64)
        root = numpy.sqrt((wide * wide).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        return (wide / root * self.weights[name]).astype(numpy.float32)

    def heads(self, x, name, count):
        """[time, width] to [count, time, head]."""
        rows = x @ self.weights[name].T
        return rows.reshape(len(x), count, -1).swapaxes(0, 1)

    def rotated(self, x):
        half = x.shape[-1] // 2
        frequencies = self.config["rope_theta"] ** (-numpy.arange(half) / half)
        angles = numpy.arange(x.shape[1])[:, None] * frequencies
        cosine, sine = numpy.cos(angles), numpy.sin(angles)
        first, second = x[..., :half], x[..., half:]
        both = [first * cosine - second * sine, second * cosine + first * sine]
        return numpy.concatenate(both, axis=-1).astype(numpy.float32)

    def attention(self, x, layer):
        count, key_count = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        name = f"model.layers.{layer}.self_attn"
        q = self.rotated(self.heads(x, f"{name}.q_proj.weight", count))
        k = self.rotated(self.heads(x, f"{name}.k_proj.weight", key_count))
        v = self.heads(x, f"{name}.v_proj.weight", key_count)
        k, v = (numpy.repeat(t, count // key_count, axis=0) for t in (k, v))
        scores = (q @ k.swapaxes(1, 2)).astype(numpy.float64) / numpy.sqrt(q.shape[-1])
        scores[:, ~numpy.tri(len(x), dtype=bool)] = -numpy.inf
        scores = numpy.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)).astype(numpy.float32) @ v
        return mixed.swapaxes(0, 1).reshape(len(x), -1) @ self.weights[f"{name}.o_proj.weight"].T

    def mlp(self, x, layer):
        gate, up, down = (self.weights[f"model.layers.{layer}.mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        gated = (x @ gate.T).astype(numpy.float64)
        return (gated / (1 + numpy.exp(-gated)) * (x @ up.T)).astype(numpy.float32) @ down.T

    def log_probabilities(self, ids):
        embedding = self.weights["model.embed_tokens.weight"]
        x = embedding[ids]
        for layer in range(self.config["num_hidden_layers"]):
            x = x + self.attention(self.norm(x, f"model.layers.{layer}.input_layernorm.weight"), layer)
            x = x + self.mlp(self.norm(x, f"model.layers.{layer}.post_attention_layernorm.weight"), layer)
        head = embedding if self.config["tie_word_embeddings"] else self.weights["lm_head.weight"]
        logits = (self.norm(x, "model.norm.weight")[:-1] @ head.T).astype(numpy.float64)
        most = logits.max(-1)
        sums = most + numpy.log(numpy.exp(logits - most[:, None]).sum(-1))
        return logits[numpy.arange(len(ids) - 1), ids[1:]] - sums


def main():
    model = Model(pathlib.Path(sys.argv[1]))
    for text in texts(pathlib.Path(sys.argv[2]), int(sys.argv[3])):
        ids = model.tokenizer.encode(text, add_special_tokens=False).ids
        found = model.log_probabilities(numpy.array(ids))
        line = {"text": text, "ids": ids, "log_probabilities": [float(value) for value in found]}
        print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
