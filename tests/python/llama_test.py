#!/usr/bin/env python3
"""Llama, its weights and tokenizers beside transformers and tokenizers: golden cases with options that the shared ones do not
take, exported weights, tokens of random texts.

usage: llama_test.py PROGRAM   (exit 77: torch, safetensors, transformers or tokenizers is not installed here)
"""
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    import torch
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

PROGRAM = sys.argv[1]
FOLDER = pathlib.Path(tempfile.mkdtemp())


def lacuna(*arguments, text=None):
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


BASE = dict(vocab_size=67, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, attention_bias=False, mlp_bias=False)
CASES = {
    "one-group": dict(num_key_value_heads=1, rope_theta=640000.0),
    "all-groups": dict(num_key_value_heads=4, rms_norm_eps=1e-6),
    "biases": dict(attention_bias=True, mlp_bias=True),
    "tied": dict(tie_word_embeddings=True),
    "gelu": dict(hidden_act="gelu", head_dim=12),
    "llama3": dict(rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                 "original_max_position_embeddings": 32}),
    "linear": dict(rope_scaling={"rope_type": "linear", "factor": 4.0}),
}


def make_model(options):
    settings = {**BASE, **options}
    theta, scaling = settings.pop("rope_theta"), settings.pop("rope_scaling", None)
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**settings, max_position_embeddings=64,
                                         rope_parameters={"rope_type": "default", "rope_theta": theta, **(scaling or {})}))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def check_case(name, options):
    model = make_model(options)
    tokens = torch.randint(0, 66, (3, 41))
    positions = torch.stack([torch.randperm(39)[:6] for _ in range(3)])
    ids = tokens[:, :-1].clone().scatter_(1, positions, 66)
    logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    plain = model(input_ids=tokens[:, :-1], use_cache=False).logits
    unmasked = torch.nn.functional.cross_entropy(plain.flatten(0, 1), tokens[:, 1:].flatten())
    outputs = {"input_ids": ids, "loss": loss.detach(), "loss.unmasked_input": unmasked.detach(), "pred": logits.detach()}
    outputs |= {f"grad.{key}": value.grad for key, value in model.named_parameters()}
    folder = FOLDER / name
    folder.mkdir()
    keep = lambda tensors: {key: value.contiguous().clone() for key, value in tensors.items()}
    save_file(keep(outputs), folder / "outputs.safetensors")
    save_file(keep(dict(model.named_parameters())), folder / "weights.safetensors")
    save_file(keep({"tokens": tokens, "mask_positions": positions}), folder / "inputs.safetensors")
    encoder = {**BASE, **options}
    scaling = encoder.pop("rope_scaling", None)
    if scaling:
        names = {"factor": "rope_factor", "low_freq_factor": "rope_low", "high_freq_factor": "rope_high",
                 "original_max_position_embeddings": "rope_original", "rope_type": "rope_scaling"}
        encoder |= {names[key]: value for key, value in scaling.items()}
        for key in ("rope_original",):
            if key in encoder:
                encoder[key] = int(encoder[key])
    lines = ['method = "meap"', 'kind = "pretrain-step"', "[tolerance]", "rtol = 1e-4", "atol = 2e-5", "[config.encoder]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in encoder.items()]
    lines += ["[config.mask]", "mask_ratio = 0.15", "mask_token_id = 66", "block_size = 40", "shared_over_batch = false"]
    (folder / "case.toml").write_text("\n".join(lines) + "\n")
    print(lacuna("verify", folder).strip())


def check_export():
    run, text = FOLDER / "run", FOLDER / "text.txt"
    text.write_text("To be, or not to be, that is the question.\n" * 20)
    lacuna("pretrain", "meap", "--data", text, "--out", run, "--set", "train.steps=0", "--set", "encoder.context=32",
           "--set", "encoder.embed_dim=32", "--set", "encoder.depth=2", "--set", "encoder.num_heads=4",
           "--set", "encoder.num_kv_heads=2", "--set", "encoder.mlp_dim=48", "--set", "train.batch_size=4")
    lacuna("export", run, "--format", "hf", "--out", FOLDER / "hf")
    model = LlamaForCausalLM.from_pretrained(FOLDER / "hf")
    other = FOLDER / "other.txt"
    other.write_text("The question is what to be.\n" * 9)
    found = json.loads(lacuna("eval", "perplexity", run, "--test", other, "--json"))
    ids = torch.tensor([256] + list(other.read_bytes()) + [257])
    losses, done = [], 1
    while done < len(ids):
        end = min(len(ids), done + 32)
        window = ids[max(0, end - 33):end]  # the last one looks back as far as the others
        logits = model(input_ids=window[None, :-1]).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, window[1:], reduction="none")[done - end:])
        done = end
    wanted = torch.cat(losses).mean().item()
    assert abs(found["metrics"]["loss"] - wanted) < 1e-4, (found, wanted)
    # And what transformers saves is read again.
    model.save_pretrained(FOLDER / "saved")
    back = json.loads(lacuna("eval", "perplexity", FOLDER / "saved" / "model.safetensors", "--data", text, "--test", other, "--json",
                             "--set", "encoder.num_heads=4", "--set", "encoder.num_kv_heads=2", "--set", "encoder.context=32"))
    assert abs(back["metrics"]["loss"] - wanted) < 1e-4, back
    print(f"export: loss {wanted:.6f}, ours {found['metrics']['loss']:.6f}")


TEXTS = ["Hello, world! It's 12:30 -- isn't it?", "  two  spaces\tand\n\nlines \n", "naïve café ÀÉÎ straße ﬁn", "日本語のテキスト и русский 🙂👍🏽",
         "a [MASK] b</s>c <s>d", "don't we'll I'M 3.14 x_y #tag @me", "\u200bzero\u00a0width \u0301", "ΑΣ ΟΔΟΣ İstanbul"]
CORPUS = ["the quick brown fox jumps over the lazy dog", "it's not what you've done, it's what they'll do",
          "naïve café straße 日本 русский 🙂", "numbers 12 345 6.78"] * 5


def llama_bpe():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False))
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.add_special_tokens(["[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def gpt2(pattern=None):
    tokenizer = Tokenizer(models.BPE())
    if pattern:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(__import__("tokenizers").Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=380, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                              special_tokens=["<s>", "</s>"], show_progress=False))
    return tokenizer


def bert(lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


def metaspace():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Digits(True),
                                                       pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=150, special_tokens=["<unk>", "</s>"], show_progress=False))
    return tokenizer


def through(job, path, documents, *more):
    """All documents in one run of the program."""
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    return [json.loads(line) for line in lacuna("tokenizer", job, "--tokenizer", path, "--lines", *more, text=lines).splitlines()]


def check_tokenizer(name, tokenizer):
    path = FOLDER / f"{name}.json"
    tokenizer.save(str(path))
    generator = random.Random(3)
    alphabet = "ab the's \n\t12.,'\"é日я🙂ﬁ\u0301<s>"
    texts = TEXTS + ["".join(generator.choices(alphabet, k=60)) for _ in range(40)]
    encoded = through("encode", path, texts, "--framed")
    decoded = through("decode", path, [line["ids"] for line in encoded])
    for text, got, back in zip(texts, encoded, decoded):
        wanted = tokenizer.encode(text)
        assert got["ids"] == wanted.ids, f"{name} {text!r}: {got['ids']} for {wanted.ids}"
        assert back["text"] == tokenizer.decode(wanted.ids), f"{name} {text!r}: {back['text']!r} for {tokenizer.decode(wanted.ids)!r}"
    print(f"{name}: {len(texts)} texts")


def check_trained():
    """What `lacuna tokenizer train` writes is read by tokenizers, and gives the same tokens."""
    data, path = FOLDER / "corpus.txt", FOLDER / "trained.json"
    data.write_text("\n".join(CORPUS))
    lacuna("tokenizer", "train", "--data", data, "--out", path, "--vocab-size", 400, "--workers", 3)
    check_tokenizer("trained again", Tokenizer.from_file(str(path)))
    first = path.read_bytes()
    lacuna("tokenizer", "train", "--data", data, "--out", path, "--vocab-size", 400, "--workers", 1)
    assert path.read_bytes() == first


def check_sentencepiece():
    try:
        import sentencepiece
    except ImportError:
        return print("sentencepiece: not installed here")
    data = FOLDER / "sp.txt"
    data.write_text("\n".join(CORPUS))
    for kind in ("bpe", "unigram"):
        sentencepiece.SentencePieceTrainer.train(input=str(data), model_prefix=str(FOLDER / kind), model_type=kind, vocab_size=330,
                                                 byte_fallback=True, hard_vocab_limit=False, minloglevel=2)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / f"{kind}.model"))
        encoded = through("encode", FOLDER / f"{kind}.model", TEXTS)
        decoded = through("decode", FOLDER / f"{kind}.model", [line["ids"] for line in encoded])
        for text, got, back in zip(TEXTS, encoded, decoded):
            assert got["ids"] == processor.encode(text), (kind, text)
            assert back["text"] == processor.decode(got["ids"]), (kind, text)
        print(f"sentencepiece {kind}: {len(TEXTS)} texts")


for name, options in CASES.items():
    check_case(name, options)
check_export()
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
for name, tokenizer in {"llama": llama_bpe(), "gpt2": gpt2(), "llama3": gpt2(LLAMA3), "bert": bert(True), "bert-cased": bert(False),
                        "metaspace": metaspace()}.items():
    check_tokenizer(name, tokenizer)
check_trained()
check_sentencepiece()
