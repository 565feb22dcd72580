#!/usr/bin/env python3
"""CLIP beside transformers' CLIPModel: golden cases with options that the shared ones do not take, exported weights and features.

usage: clip_test.py PROGRAM   (exit 77: torch, safetensors, transformers or PIL is not installed here)
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import load_file, save_file
    from transformers import CLIPConfig, CLIPModel
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

PROGRAM = sys.argv[1]
FOLDER = pathlib.Path(tempfile.mkdtemp())
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def lacuna(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stdout} {done.stderr}"
    return done.stdout


TEXT = dict(hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=12, vocab_size=60,
            hidden_act="quick_gelu", eos_token_id=59, bos_token_id=58, pad_token_id=0, projection_dim=20)
VISION = dict(hidden_size=48, intermediate_size=144, num_hidden_layers=3, num_attention_heads=4, image_size=24, patch_size=8,
              hidden_act="quick_gelu", projection_dim=20)
CASES = {
    "plain": ({}, {}, False),
    "gelu": (dict(hidden_act="gelu"), dict(hidden_act="gelu"), False),
    "mask": ({}, {}, True),
    "oldest-end": (dict(eos_token_id=2), {}, False),
    "eps": (dict(layer_norm_eps=1e-3), dict(layer_norm_eps=1e-4), False),
}


def make_model(text, vision):
    torch.manual_seed(3)
    model = CLIPModel(CLIPConfig(text_config={**TEXT, **text}, vision_config={**VISION, **vision}, projection_dim=20))
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def toml(table):
    rows = []
    for key, value in table.items():
        rows.append(f"{key} = {json.dumps(value)}")
    return "\n".join(rows)


def check_case(name, text, vision, masked):
    model = make_model(text, vision)
    ids = torch.randint(3, 57, (4, 12))
    attention = torch.ones(4, 12, dtype=torch.long)
    for row, end in enumerate((11, 5, 7, 3)):
        ids[row, end] = 59
        ids[row, end + 1:] = 0
        attention[row, end + 1:] = 0
    pixels = torch.randn(4, 3, 24, 24)
    out = model(input_ids=ids, pixel_values=pixels, attention_mask=attention if masked else None, return_loss=True)
    out.loss.backward()
    folder = FOLDER / name
    folder.mkdir()
    weights = {key: value.detach().contiguous() for key, value in model.state_dict().items() if not key.endswith("position_ids")}
    save_file(weights, folder / "weights.safetensors")
    save_file({"input_ids": ids, "pixel_values": pixels, "attention_mask": attention}, folder / "inputs.safetensors")
    wanted = {"loss": out.loss, "logits_per_image": out.logits_per_image, "logits_per_text": out.logits_per_text,
              "image_embeds": out.image_embeds, "text_embeds": out.text_embeds}
    wanted = {key: value.detach().contiguous() for key, value in wanted.items()}
    for key, parameter in model.named_parameters():
        if key.endswith("k_proj.bias"):
            continue  # a softmax does not see it: its gradient is rounding
        wanted["grad." + key] = parameter.grad.contiguous()
    save_file(wanted, folder / "outputs.safetensors")
    (folder / "case.toml").write_text(
        f'method = "clip"\nkind = "hf"\nsource = "transformers"\n[tolerance]\nrtol = 1e-4\natol = 1e-5\n[config]\nprojection_dim = 20\n'
        f"[config.text_config]\n{toml({**TEXT, **text})}\n[config.vision_config]\n{toml({**VISION, **vision})}\n"
        f"[config.text]\nuse_attention_mask = {str(masked).lower()}\n")
    print(lacuna("verify", folder).strip())


def check_export():
    """A run of ours, opened by transformers, gives the same picture features."""
    pictures, bank = FOLDER / "pictures", FOLDER / "bank"
    for number, label in enumerate(("cat", "dog")):
        for place, folder in enumerate((pictures, bank)):
            (folder / label).mkdir(parents=True)
            for i in range(6):
                noise = numpy.random.default_rng((number, place, i)).integers(0, 255, (24, 24, 3), dtype=numpy.uint8)
                Image.fromarray(noise).save(folder / label / f"{i}.png")
    settings = ["encoder.arch=clip_vit", "encoder.img_size=24", "encoder.patch_size=8", "encoder.embed_dim=48", "encoder.depth=2",
                "encoder.num_heads=4", "text.embed_dim=32", "text.depth=2", "text.num_heads=2", "text.context_length=32", "projection.dim=16",
                "train.steps=3", "train.batch_size=4", "train.lr=1e-3", "train.workers=0", "health.samples=4",
                f"data.mean={MEAN}", f"data.std={STD}", "augment.crop_share=1.0"]
    run, hf = FOLDER / "run", FOLDER / "hf"
    lacuna("pretrain", "clip", "--data", bank, "--out", run, *[part for setting in settings for part in ("--set", setting)])
    lacuna("export", run, "--format", "hf", "--out", hf)
    lacuna("features", run, "--data", pictures, "--out", FOLDER / "ours.safetensors")
    model = CLIPModel.from_pretrained(hf).eval()
    files = sorted(pictures.glob("*/*.png"))
    stacked = numpy.stack([numpy.asarray(Image.open(path)) for path in files])
    pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        theirs = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    ours = load_file(FOLDER / "ours.safetensors")["features"]
    difference = (ours - theirs).abs().max().item()
    assert difference < 1e-4, difference
    # And the text tower: bytes as tokens.
    ids = torch.tensor([[256, *b"a photo of a cat.", 257], [256, *b"a photo of a dog.", 257]])
    with torch.no_grad():
        texts = model.text_projection(model.text_model(input_ids=ids).pooler_output)
    image = theirs / theirs.norm(dim=-1, keepdim=True)
    text = texts / texts.norm(dim=-1, keepdim=True)
    right = (image @ text.t()).argmax(1) == torch.tensor([0] * 6 + [1] * 6)
    found = json.loads(lacuna("eval", "zeroshot", run, "--data", bank, "--test", pictures, "--json"))
    assert abs(found["metrics"]["top1"] - right.float().mean().item()) < 1e-6, (found["metrics"], right)
    print(f"features differ by {difference:.1e}; zero-shot {found['metrics']['top1']:.3f} and {right.float().mean():.3f}")


for case, options in CASES.items():
    check_case(case, *options)
check_export()
