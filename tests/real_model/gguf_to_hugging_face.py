"""Writes the model in a GGUF file as a Hugging Face folder with float32 weights.

Knows what SmolLM2-135M-Instruct in Q4_1 needs: the llama architecture, tensors in F32, Q8_0 and Q4_1, and a byte-level
BPE tokenizer whose pre-tokenizer is called `smollm`. Anything else is an error.

    python3 gguf_to_hugging_face.py MODEL.gguf FOLDER
"""

import json
import pathlib
import struct
import sys

import numpy

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8


class Reader:
    """Reads a GGUF file of version 3: metadata, then the list of tensors, then their data."""

    def __init__(self, path):
        self.data = numpy.memmap(path, dtype=numpy.uint8, mode="r")
        self.place = 0
        if self.bytes(4) != b"GGUF" or self.scalar("I") != 3:
            raise SystemExit(f"{path} is no GGUF file of version 3")
        tensors, entries = self.scalar("Q"), self.scalar("Q")
        self.metadata = {}
        for _ in range(entries):
            name = self.text()
            self.metadata[name] = self.value(self.scalar("I"))
        self.tensors = {}
        for _ in range(tensors):
            name = self.text()
            # The innermost dimension comes first.
            shape = [self.scalar("Q") for _ in range(self.scalar("I"))][::-1]
            self.tensors[name] = (shape, self.scalar("I"), self.scalar("Q"))
        alignment = self.metadata.get("general.alignment", 32)
        self.start = -(-self.place // alignment) * alignment

    def bytes(self, count):
        self.place += count
        return self.data[self.place - count : self.place].tobytes()

    def scalar(self, kind):
        return struct.unpack("<" + kind, self.bytes(struct.calcsize("<" + kind)))[0]

    def text(self):
        return self.bytes(self.scalar("Q")).decode()

    def value(self, kind):
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            return [self.value(element) for _ in range(count)]
        return self.scalar(SCALARS[kind])

    def tensor(self, name):
        """The tensor as float32."""
        shape, kind, offset = self.tensors[name]
        count, start = int(numpy.prod(shape)), self.start + offset
        if kind == F32:
            return self.data[start : start + 4 * count].view("<f4").reshape(shape).copy()
        size = {Q4_1: 20, Q8_0: 34}.get(kind)
        if size is None:
            raise SystemExit(f"{name} is of kind {kind}, only F32, Q4_1 and Q8_0 are known")
        blocks = self.data[start : start + count // 32 * size].reshape(-1, size)
        scale = blocks[:, :2].copy().view("<f2").astype(numpy.float32)
        if kind == Q8_0:
            values = scale * blocks[:, 2:].view(numpy.int8).astype(numpy.float32)
        else:
            least = blocks[:, 2:4].copy().view("<f2").astype(numpy.float32)
            packed = blocks[:, 4:]
            values = numpy.concatenate([packed & 15, packed >> 4], axis=1).astype(numpy.float32) * scale + least
        return values.reshape(shape)


def halves(rows, heads):
    """Rows of a query or key map from GGUF's order, rotary pairs side by side, to halves of each head."""
    count, width = rows.shape
    return rows.reshape(heads, count // heads // 2, 2, width).swapaxes(1, 2).reshape(count, width)


def weights(gguf):
    """Names of Hugging Face with functions that give the tensors, in the order of the model."""
    value = lambda key: gguf.metadata[f"llama.{key}"]
    heads, key_heads = value("attention.head_count"), value("attention.head_count_kv")
    plain = lambda name: lambda: gguf.tensor(name)
    turned = lambda name, count: lambda: halves(gguf.tensor(name), count)
    yield "model.embed_tokens.weight", plain("token_embd.weight")
    for block in range(value("block_count")):
        ours, theirs = f"model.layers.{block}", f"blk.{block}"
        yield f"{ours}.input_layernorm.weight", plain(f"{theirs}.attn_norm.weight")
        yield f"{ours}.self_attn.q_proj.weight", turned(f"{theirs}.attn_q.weight", heads)
        yield f"{ours}.self_attn.k_proj.weight", turned(f"{theirs}.attn_k.weight", key_heads)
        yield f"{ours}.self_attn.v_proj.weight", plain(f"{theirs}.attn_v.weight")
        yield f"{ours}.self_attn.o_proj.weight", plain(f"{theirs}.attn_output.weight")
        yield f"{ours}.post_attention_layernorm.weight", plain(f"{theirs}.ffn_norm.weight")
        for name in ("gate", "up", "down"):
            yield f"{ours}.mlp.{name}_proj.weight", plain(f"{theirs}.ffn_{name}.weight")
    yield "model.norm.weight", plain("output_norm.weight")


def write_safetensors(path, tensors):
    tensors = [(name, tensor()) for name, tensor in tensors]
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors:
        offsets = [place, place + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        place += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in tensors:
            file.write(numpy.ascontiguousarray(tensor, dtype="<f4").tobytes())


def config(metadata):
    value = lambda key: metadata[f"llama.{key}"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "dtype": "float32",
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "head_dim": value("rope.dimension_count"),
        "hidden_act": "silu",
        "hidden_size": value("embedding_length"),
        "initializer_range": 0.041666666666666664,
        "intermediate_size": value("feed_forward_length"),
        "max_position_embeddings": value("context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": value("attention.head_count"),
        "num_hidden_layers": value("block_count"),
        "num_key_value_heads": value("attention.head_count_kv"),
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
        # The file holds a float32; the number that was meant has few digits.
        "rms_norm_eps": float(f"{value('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": value("rope.freq_base"),
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": value("vocab_size"),
    }


def tokenizer(metadata):
    value = lambda key: metadata[f"tokenizer.ggml.{key}"]
    if (value("model"), value("pre")) != ("gpt2", "smollm"):
        raise SystemExit("its tokenizer is not the one that is known")
    tokens = value("tokens")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = [i for i, kind in enumerate(value("token_type")) if kind == 3]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    pieces = [{"type": "Digits", "individual_digits": True}, byte_level]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pieces},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": value("merges"),
        },
    }


def named_tokens(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    return {name: tokens[metadata[f"tokenizer.ggml.{key}_token_id"]] for name, key in names.items()}


def tokenizer_config(metadata):
    return {
        "add_bos_token": metadata["tokenizer.ggml.add_bos_token"],
        "add_prefix_space": metadata["tokenizer.ggml.add_space_prefix"],
        **named_tokens(metadata),
        "chat_template": metadata["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        "tokenizer_class": "GPT2Tokenizer",
    }


def main():
    source, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    gguf = Reader(source)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", weights(gguf))
    files = {
        "tokenizer.json": tokenizer(gguf.metadata),
        "tokenizer_config.json": tokenizer_config(gguf.metadata),
        "special_tokens_map.json": named_tokens(gguf.metadata),
        # Last: a folder without it is no model yet.
        "config.json": config(gguf.metadata),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
