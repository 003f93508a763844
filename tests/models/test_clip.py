"""CLIP as a text encoder: a tiny one, made here with its tokenizer's files, in each of the forms that CLIP comes in."""

import gzip
import json
import sys
from collections import namedtuple

import pytest
import torch
from torch import nn

from models.clip import MERGES_FILE, VIT_B_32, ClipTextEncoder, load_clip, openai_vocabulary
from models.text_encoder import build_text_encoder

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # OpenAI's files are of their time

MERGES = (
    "w a",
    "l k",
    "wa lk",
    "walk s</w>",
    "p e",
    "r s",
    "o n</w>",
    "pe rs",
    "pers on</w>",
    "t u",
    "tu r",
    "n s</w>",
)
SIZE = 512 + len(MERGES) + 2
BEGIN, END = SIZE - 2, SIZE - 1
TEXTS = ["a person walks", "", "A Person turns, and walks on!", "é 7 walks", "walks " * 90]
COUNTS = [5, 2, None, None, 77]  # ids with the begin and the end, where one can tell by looking

Tiny = namedtuple("Tiny", "folder tower")


def vocabulary():
    """The tiny vocabulary, spelt out: bytes in CLIP's order, bytes that end a word, merges, begin and end."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = [chr(256 + i) for i in range(256 - len(own))]  # of the bytes that cannot be printed
    letters = [chr(byte) for byte in own] + stand_ins
    tokens = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in MERGES]
    return {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def tiny_config(**changes):
    from transformers import CLIPTextConfig

    sizes = {
        "vocab_size": SIZE, "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 77, "projection_dim": 24, "bos_token_id": BEGIN,
        "eos_token_id": END,
    }  # fmt: skip
    return CLIPTextConfig(**sizes | changes)


def tiny_tower(**changes):
    """A text tower whose weights are large enough for every token and layer to matter."""
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    tower = CLIPTextModelWithProjection(tiny_config(**changes))
    for name, weight in tower.named_parameters():
        nn.init.normal_(weight, float("norm" in name and name.endswith("weight")), 0.3)
    return tower.eval()


def write_tokenizer(folder):
    """The two files of a byte-pair tokenizer in the layout of transformers."""
    (folder / "vocab.json").write_text(json.dumps(vocabulary()), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")


def saved(folder, tower):
    tower.save_pretrained(folder)
    write_tokenizer(folder)
    return str(folder)


def write_merges(path, merges=MERGES):
    """OpenAI's byte-pair file: a line that says its version, then a merge a line."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *merges]) + "\n")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    tower = tiny_tower()
    return Tiny(saved(tmp_path_factory.mktemp("clip"), tower), tower)


@pytest.fixture(scope="module")
def encoder(tiny) -> ClipTextEncoder:
    return load_clip(tiny.folder)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and nothing fetched before."""
    constants = sys.modules["huggingface_hub.constants"]  # which has read the environment by now

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def close(a, b, tolerance=1e-5):
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


# --- Ids


def test_ids_are_padded_with_0(encoder):
    ids, lengths = encoder.tokenize(["a person walks", "", "on!"])
    place = vocabulary()
    expected = [["a</w>", "person</w>", "walks</w>"], [], ["on</w>", "!</w>"]]
    assert ids.shape == (3, 77) and lengths.tolist() == [5, 2, 4]
    for row, words in zip(ids.tolist(), expected):
        found = [BEGIN, *(place[word] for word in words), END]
        assert row == found + [0] * (77 - len(found))


def test_long_text_is_cut_before_its_end_token(encoder):
    walks = vocabulary()["walks</w>"]
    ids, lengths = encoder.tokenize(["walks " * 75, "walks " * 76, "walks " * 500])
    assert lengths.tolist() == [77, 77, 77]
    for row in ids.tolist():
        assert row == [BEGIN, *[walks] * 75, END]


def test_case_and_spaces_do_not_matter(encoder):
    ids, _ = encoder.tokenize(["a person walks", "  A  PERSON\twalks\n"])
    assert torch.equal(ids[0], ids[1])


# --- Features


@torch.no_grad()
def test_features_are_those_of_a_plain_forward(tiny, encoder):
    ids, lengths = encoder.tokenize(TEXTS)
    found = encoder(TEXTS)
    assert (found.sentence.shape, found.words.shape, found.mask.shape) == ((5, 24), (5, 77, 16), (5, 77))
    plain = tiny.tower(input_ids=ids)
    assert close(found.sentence, plain.text_embeds) and close(found.words, plain.last_hidden_state)
    for i, count in enumerate(lengths.tolist()):
        # padding does not reach back, and the end token is where the sentence is read
        alone = tiny.tower(input_ids=ids[i : i + 1, :count])
        assert close(found.words[i, :count], alone.last_hidden_state[0])
        assert close(found.sentence[i], tiny.tower.text_projection(found.words[i, count - 1]))
    wrong = torch.where(ids == 0, END, ids)
    assert not close(found.words, tiny.tower(input_ids=wrong).last_hidden_state, 1e-2), "a control: padding matters"
    assert (found.sentence[0] - found.sentence[1:]).abs().amax(dim=1).min() > 0.1, "a control: so do words"


@torch.no_grad()
def test_the_mask_counts_begin_words_and_end(encoder):
    found = encoder(TEXTS)
    assert found.mask.dtype == torch.bool
    for row, count, length in zip(found.mask, COUNTS, encoder.tokenize(TEXTS)[1].tolist()):
        assert count in (None, length)
        assert row.tolist() == [True] * length + [False] * (77 - length)


@torch.no_grad()
def test_a_batch_is_its_sentences_alone(encoder):
    together = encoder(TEXTS)
    for i, text in enumerate(TEXTS):
        for whole, alone in zip(together, encoder([text])):
            assert close(whole[i].float(), alone[0].float())


def test_one_pass_of_the_tower_gives_both(encoder):
    passes = []
    counted = (encoder.tower, encoder.tower.text_model, encoder.tower.text_model.encoder.layers[0])
    hooks = [module.register_forward_hook(lambda module, *_: passes.append(module)) for module in counted]
    try:
        encoder(TEXTS)
    finally:
        for hook in hooks:
            hook.remove()
    assert [sum(module is one for one in passes) for module in counted] == [1, 1, 1]


def test_it_is_frozen(tiny):
    encoder = load_clip(tiny.folder)
    assert encoder.frozen and list(encoder.parameters())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    outer = nn.ModuleList([encoder]).train()
    assert outer.training and not any(module.training for module in encoder.modules())
    assert encoder.train() is encoder and not encoder.training
    found = encoder(["a person walks"])
    assert not found.sentence.requires_grad and not found.words.requires_grad


def test_precision_on_the_cpu(encoder):
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


@torch.no_grad()
def test_features_of_a_half_precision_tower_are_float32(tiny, encoder):
    half = load_clip(tiny.folder).half()
    whole, found = encoder(TEXTS), half(TEXTS)
    assert found.sentence.dtype == found.words.dtype == torch.float32
    assert close(found.sentence, whole.sentence, 0.05) and close(found.words, whole.words, 0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision is for a GPU")
def test_half_precision_on_a_gpu(tiny, encoder):
    on_gpu = load_clip(tiny.folder, "cuda")
    assert {(p.dtype, p.device.type) for p in on_gpu.parameters()} == {(torch.float16, "cuda")}
    whole, found = encoder(TEXTS), on_gpu(TEXTS)
    assert found.sentence.device.type == found.words.device.type == found.mask.device.type == "cuda"
    assert close(found.sentence.cpu(), whole.sentence, 0.05) and close(found.words.cpu(), whole.words, 0.05)
    assert torch.equal(found.mask.cpu(), whole.mask)


def test_a_checkpoint_says_where_clip_came_from(tiny, encoder):
    content = encoder.checkpoint()
    assert content == {"kind": "clip", "source": tiny.folder}
    expected = encoder(TEXTS[:1])
    moved = {**content, "source": "gone"}
    for again in (
        build_text_encoder(content, "net.pth"),
        build_text_encoder(moved, "net.pth", tiny.folder),
        build_text_encoder(None, "released.pth", tiny.folder),
    ):
        assert close(again(TEXTS[:1]).sentence, expected.sentence)
    assert encoder.unknown_words("qwerty") == encoder.unknown_words("") == []


# --- The forms that it comes in


@torch.no_grad()
def test_a_folder_with_the_whole_of_clip(tmp_path, capsys):
    """As on the hub: image tower and all, and the end token's number of old configs (2, for "the highest id")."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

    text = tiny_config(eos_token_id=2)
    image = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    torch.manual_seed(1)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=image.to_dict(), projection_dim=24)
    whole = CLIPModel(config).eval()
    nn.init.normal_(whole.text_model.embeddings.token_embedding.weight)
    folder = saved(tmp_path, whole)
    capsys.readouterr()
    encoder = load_clip(folder)
    assert "vision_model" not in capsys.readouterr().err, "what is not used is not worth a page of warnings"
    ids, lengths = encoder.tokenize(TEXTS)
    hidden = whole.text_model(input_ids=ids).last_hidden_state
    found = encoder(TEXTS)
    assert close(found.words, hidden)
    assert close(found.sentence, whole.text_projection(hidden[torch.arange(len(TEXTS)), lengths - 1]))


class Held(nn.Module):
    """Holds tensors and modules under given names, as the parts of OpenAI's archive do."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(part.detach().clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("nothing runs the code of an archive")


def write_openai(path, tower):
    """The tower as OpenAI's ViT-B-32.pt has it: TorchScript, half precision, names of its own, an image tower too."""
    text, blocks = tower.text_model, []
    for layer in text.encoder.layers:
        attention = layer.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        attn = Held(
            in_proj_weight=torch.cat([part.weight for part in projections]),
            in_proj_bias=torch.cat([part.bias for part in projections]),
            out_proj=attention.out_proj,
        )
        mlp = Held(c_fc=layer.mlp.fc1, c_proj=layer.mlp.fc2)
        blocks.append(Held(attn=attn, ln_1=layer.layer_norm1, mlp=mlp, ln_2=layer.layer_norm2))
    image_block = Held(ln_1=nn.LayerNorm(8))
    archive = Held(
        positional_embedding=text.embeddings.position_embedding.weight,
        text_projection=tower.text_projection.weight.T,
        logit_scale=torch.tensor(1.0),
        token_embedding=Held(weight=text.embeddings.token_embedding.weight),
        ln_final=text.final_layer_norm,
        transformer=Held(resblocks=nn.Sequential(*blocks)),
        visual=Held(transformer=Held(resblocks=nn.Sequential(*[image_block] * 5)), proj=torch.zeros(8, 24)),
    )
    torch.jit.script(archive.half()).save(str(path))
    return path


@pytest.fixture(scope="module")
def wide_tower():
    """Two heads of 64: OpenAI's file says nothing of heads. Weights that half precision holds exactly."""
    tower = tiny_tower(hidden_size=128, intermediate_size=512)
    return tower.half().float()


@torch.no_grad()
def test_openais_file_gives_what_the_folder_gives(tmp_path, wide_tower, offline):
    (tmp_path / "folder").mkdir()
    folder = load_clip(saved(tmp_path / "folder", wide_tower))
    path = write_openai(tmp_path / "ViT-B-32.pt", wide_tower)
    write_merges(tmp_path / MERGES_FILE)
    theirs = load_clip(str(path))
    assert (theirs.positions, theirs.text_dim, theirs.tower.config.num_attention_heads) == (77, 24, 2)
    assert {parameter.dtype for parameter in theirs.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in theirs.parameters())
    for ours, found in zip(folder.tokenize(TEXTS), theirs.tokenize(TEXTS)):
        assert torch.equal(ours, found)
    expected, found = folder(TEXTS), theirs(TEXTS)
    assert close(found.sentence, expected.sentence, 1e-4) and close(found.words, expected.words, 1e-4)
    assert torch.equal(found.mask, expected.mask)
    assert theirs.checkpoint() == {"kind": "clip", "source": str(path)}


def test_openais_file_without_a_tokenizer(tmp_path, wide_tower, offline):
    path = write_openai(tmp_path / "ViT-B-32.pt", wide_tower)
    with pytest.raises(ValueError, match=rf"ViT-B-32\.pt.*{MERGES_FILE} beside it"):
        load_clip(str(path))


def test_ids_of_openais_tiny_vocabulary(tmp_path):
    found, merges = openai_vocabulary(write_merges(tmp_path / MERGES_FILE), SIZE)
    assert found == vocabulary()
    assert merges == [tuple(merge.split()) for merge in MERGES]


def test_ids_of_clips_own_vocabulary(tmp_path):
    """Known ids of the released one; its byte-pair file has more merges than it uses."""
    first = ["i n", "t h", "a n", "r e", "a r", "e r", "th e</w>"]
    write_merges(tmp_path / MERGES_FILE, [*first, *(f"x{i} y" for i in range(60_000))])
    ids, merges = openai_vocabulary(tmp_path / MERGES_FILE, 49408)
    assert len(ids) == 49408 and sorted(ids.values()) == list(range(49408)) and len(merges) == 48894
    known = {"!": 0, "~": 93, "¡": 94, "ÿ": 187, "Ā": 188, "!</w>": 256, "a</w>": 320, "in": 512, "the</w>": 518}
    known |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    assert {token: ids[token] for token in known} == known


# --- What cannot be had


def test_a_name_that_cannot_be_fetched(offline):
    for source in (None, VIT_B_32, "nobody/has-this"):
        with pytest.raises(ValueError, match=rf"cannot load CLIP from '{source or VIT_B_32}'.*--clip-model: a folder"):
            load_clip(source)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.pt"])
def test_a_path_that_is_not_there(tmp_path, offline, name):
    with pytest.raises(ValueError, match=rf"{name}'.*--clip-model: a folder.*ViT-B-32\.pt with {MERGES_FILE}"):
        load_clip(str(tmp_path / name))


def test_a_folder_without_vocabulary(tmp_path, tiny, offline):
    """transformers would read every word as the unknown one."""
    tiny.tower.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"tokenizer has \d tokens, its text tower {SIZE}"):
        load_clip(str(tmp_path))


def test_a_folder_without_the_projection(tmp_path, tiny, offline):
    """transformers would make one of random numbers."""
    tiny.tower.text_model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"it lacks text_projection\.weight"):
        load_clip(str(tmp_path))


def test_damaged_files(tmp_path, tiny, wide_tower, offline):
    folder = tmp_path / "folder"
    folder.mkdir()
    saved(folder, tiny.tower)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (tmp_path / "ViT-B-32.pt").write_bytes(b"not an archive")
    for source in (str(folder), str(tmp_path / "ViT-B-32.pt")):
        with pytest.raises(ValueError, match=r"cannot load CLIP from .*--clip-model"):
            load_clip(source)


def test_an_archive_of_something_else(tmp_path, offline):
    torch.save({"net": {"weight": torch.zeros(3)}}, tmp_path / "net_last.pt")
    with pytest.raises(ValueError, match=r"cannot load CLIP from .*net_last\.pt"):
        load_clip(str(tmp_path / "net_last.pt"))
