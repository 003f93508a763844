"""CLIP's text tower as a text encoder: frozen, computed by the `transformers` library.

The sentence is the projected pooled vector, the words are the last hidden states after the final layer norm, not
projected; one pass gives both. Tokens are padded to the end with id 0, and nothing but the causal mask hides padding:
the released transformers were trained on the word vectors that come of this (spec/model.md 5).
"""

import gzip
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.ids import length_mask
from models.text_encoder import TextFeatures
from utils.pickles import check_pickle

STORAGES = {
    "HalfStorage": torch.float16, "FloatStorage": torch.float32, "DoubleStorage": torch.float64,
    "IntStorage": torch.int32, "LongStorage": torch.int64, "BoolStorage": torch.bool, "BFloat16Storage": torch.bfloat16,
}  # fmt: skip
VIT_B_32 = "openai/clip-vit-base-patch32"
MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"  # of OpenAI's package, for a ViT-B-32.pt without a tokenizer
HOW_TO_GET = (
    f"CLIP comes from {VIT_B_32!r} by the network, or from --clip-model: a folder in the layout of transformers, "
    f"or OpenAI's ViT-B-32.pt with {MERGES_FILE} beside it"
)


class ClipTextEncoder(nn.Module):
    """Sentences to the features of a frozen CLIP; see `load_clip`."""

    kind = "clip"
    frozen = True

    def __init__(self, tower: nn.Module, tokenizer: Any, source: str):
        super().__init__()
        self.tower, self.tokenizer, self.source = tower.requires_grad_(False), tokenizer, source
        self.positions = tower.config.max_position_embeddings  # 77

    @property
    def text_dim(self) -> int:
        return self.tower.config.projection_dim

    def train(self, mode: bool = True) -> "ClipTextEncoder":
        """Frozen: there is no training mode."""
        return super().train(False)

    def unknown_words(self, text: str) -> list[str]:
        """CLIP has a vector for anything."""
        return []

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Ids [B, 77], padded with 0, and how many of them [B] are the sentence with its begin and end; longer ones are
        cut before their end token.
        """
        rows = self.tokenizer(texts, truncation=True, max_length=self.positions)["input_ids"]
        ids = torch.zeros(len(texts), self.positions, dtype=torch.long)
        for row, found in zip(ids, rows):
            row[: len(found)] = torch.tensor(found)
        return ids, torch.tensor([len(found) for found in rows])

    @torch.no_grad()
    def forward(self, texts: list[str]) -> TextFeatures:
        """Features of B sentences: sentence [B, S], words [B, 77, S], and which of them are the sentence's."""
        ids, lengths = self.tokenize(texts)
        device = self.tower.text_projection.weight.device
        out = self.tower(input_ids=ids.to(device))
        mask = length_mask(lengths.to(device), self.positions)
        return TextFeatures(out.text_embeds.float(), out.last_hidden_state.float(), mask)

    def checkpoint(self) -> dict:
        """CLIP is not copied into checkpoints: they say where it came from."""
        return {"kind": self.kind, "source": self.source}


def load_clip(source: str | None = None, device: str | torch.device = "cpu") -> ClipTextEncoder:
    """The frozen text tower, in half precision on a GPU.

    source: a name on the Hugging Face hub (fetched and cached by transformers on first use), a folder in its layout, or
    OpenAI's `ViT-B-32.pt`. Raises ValueError, saying what to do, where it cannot be had.
    """
    # transformers takes seconds to import: only those who use CLIP wait for it
    from transformers.utils import logging

    source = source or VIT_B_32
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list every weight of CLIP's image tower as not used
    hook = logging.set_tqdm_hook(_no_bar)  # of copying weights, which is over at once; the hub's of fetching stay
    try:
        tower, tokenizer = _from_openai(Path(source)) if source.endswith(".pt") else _from_transformers(source)
        if len(tokenizer) != tower.config.vocab_size:  # such as the empty one that a folder without vocabulary gives
            raise ValueError(f"its tokenizer has {len(tokenizer)} tokens, its text tower {tower.config.vocab_size}")
    except Exception as error:  # missing and damaged files make these libraries fail in every way there is
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(f"cannot load CLIP from {source!r}: {reason}. {HOW_TO_GET}") from error
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)
    device = torch.device(device)
    return ClipTextEncoder(tower, tokenizer, source).to(device, torch.float16 if device.type == "cuda" else None).eval()


def _no_bar(make: Any, args: tuple, options: dict) -> Any:
    return make(*args, **{**options, "disable": True})


def _from_transformers(source: str) -> tuple[nn.Module, Any]:
    """Text tower and tokenizer from a name on the hub or a folder."""
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    tower, info = CLIPTextModelWithProjection.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    if info["missing_keys"]:  # which transformers fills with random numbers
        raise ValueError(f"it lacks {', '.join(sorted(info['missing_keys'])[:4])}")
    return tower, CLIPTokenizer.from_pretrained(source)


def _from_openai(path: Path) -> tuple[nn.Module, Any]:
    """Text tower and tokenizer from OpenAI's file, a TorchScript archive."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    if not path.is_file():
        raise ValueError(f"there is no {path}")
    state = torchscript_weights(path)
    vocabulary, width = state["token_embedding.weight"].shape
    layers = len({name.split(".")[2] for name in state if name.startswith("transformer.resblocks.")})
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64), max_position_embeddings=len(state["positional_embedding"]),
        projection_dim=state["text_projection"].shape[1], hidden_act="quick_gelu", bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
    )  # fmt: skip
    tower = CLIPTextModelWithProjection(config)
    tower.load_state_dict(openai_state(state, layers))
    merges = path.with_name(MERGES_FILE)
    if merges.is_file():
        return tower, CLIPTokenizer(*openai_vocabulary(merges, vocabulary))
    return tower, CLIPTokenizer.from_pretrained(VIT_B_32)


class _Module(dict):
    """Stands for every class of an archive: what an object of it holds, by name."""

    def __setstate__(self, state: Any) -> None:
        self.update(state)


class _WeightsUnpickler(pickle.Unpickler):
    """The modules of a TorchScript archive as dicts with tensors in them; nothing else in a pickle is found."""

    def __init__(self, archive: zipfile.ZipFile, top: str):
        content = archive.read(f"{top}/data.pkl")
        check_pickle(content)
        super().__init__(io.BytesIO(content))
        self.archive, self.top = archive, top

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch.jit._pickle":  # of attributes that are lists
            return lambda value, *kind: value
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, key: tuple) -> Tensor:
        _, dtype, name, _, _ = key
        member = self.archive.getinfo(f"{self.top}/data/{name}")
        if member.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its weights are packed, which torch does not do")
        content = self.archive.read(member)
        return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    if math.prod(size) > len(storage):  # one number seen a million times
        raise pickle.UnpicklingError("a tensor is larger than what it is made of")
    return storage.as_strided(size, stride, offset)


def torchscript_weights(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name in a TorchScript archive.

    Not by torch.jit.load: that runs an archive's `__setstate__`, which can write files wherever it likes.
    """
    with zipfile.ZipFile(path) as archive:
        top = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        root = _WeightsUnpickler(archive, top.removesuffix("/data.pkl")).load()
    found = {}

    def collect(module: _Module, prefix: str) -> None:
        for name, value in module.items():
            if isinstance(value, _Module):
                collect(value, f"{prefix}{name}.")
            elif isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value

    collect(root, "")
    return found


def openai_state(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The text tower's weights under the names of transformers."""
    renamed = {
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
    }
    names = {
        "attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }  # fmt: skip
    for i in range(layers):
        theirs, ours = f"transformer.resblocks.{i}", f"text_model.encoder.layers.{i}"
        for end in ("weight", "bias"):
            for old, new in names.items():
                renamed[f"{ours}.{new}.{end}"] = state[f"{theirs}.{old}.{end}"]
            for name, part in zip("qkv", state[f"{theirs}.attn.in_proj_{end}"].chunk(3)):
                renamed[f"{ours}.self_attn.{name}_proj.{end}"] = part
    return {name: value.float() for name, value in renamed.items()}


def openai_vocabulary(path: Path, size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids and merges of OpenAI's byte-pair file: bytes, bytes that end a word, merged pairs, begin and end."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1:]
    merges = [tuple(line.split()) for line in lines[: size - 512 - 2]]
    # each byte has a printable stand-in: itself where it is printable, else one from 256 up
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = [*map(chr, printable), *(chr(256 + i) for i in range(len(others)))]
    tokens = [*characters, *(f"{c}</w>" for c in characters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}, merges
