#!/usr/bin/env python3
"""Weights to timm and transformers and back: features and losses agree to 1e-4.

usage: peers_test.py PROGRAM   (exit 77: a peer is not installed here)
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import types
import wave

try:
    import numpy
    import torch
    import transformers
    from PIL import Image
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)


def import_timm():
    """timm wants torchvision, which has no CPU build here; the three encoders do not use it."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        class Names(type):
            def __getattr__(cls, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return name

        class Stub(types.ModuleType):
            __path__ = []

            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return Names(name, (), {})

        import importlib.abc
        import importlib.machinery

        class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, name, path, target=None):
                if name.split(".")[0] == "torchvision":
                    return importlib.machinery.ModuleSpec(name, self, is_package=True)

            def create_module(self, spec):
                return Stub(spec.name)

            def exec_module(self, module):
                pass

        sys.meta_path.append(Finder())
    try:
        import timm
        import timm.models.beit
        import timm.models.swin_transformer
        import timm.models.vision_transformer
        return timm
    except Exception as error:  # a version that uses torchvision while it is imported
        print(f"timm not checked: {error}")
        return None


PROGRAM = sys.argv[1]
FOLDER = pathlib.Path(tempfile.mkdtemp())
TOLERANCE = 1e-4
MAE = ["encoder.arch=vit", "encoder.img_size=32", "encoder.patch_size=8", "encoder.embed_dim=64", "encoder.depth=2",
       "encoder.num_heads=1", "decoder.embed_dim=32", "decoder.depth=1", "decoder.num_heads=1"]
SWIN = ["encoder.arch=swin", "encoder.img_size=32", "encoder.patch_size=4", "encoder.embed_dim=16", "encoder.depths=[2, 2]",
        "encoder.num_heads=[1, 2]", "encoder.window_size=4", "mask.mask_patch_size=8"]
BEIT = ["encoder.arch=beit-vit", "encoder.img_size=32", "encoder.patch_size=8", "encoder.embed_dim=32", "encoder.depth=2",
        "encoder.num_heads=2", "mask.mask_patch_size=8"]
HUBERT = ["encoder.arch=hubert", "encoder.conv_layers=[(16,10,5)] + [(16,3,2)] * 2 + [(16,2,2)]", "encoder.embed_dim=24",
          "encoder.depth=2", "encoder.num_heads=3", "encoder.conv_pos=8", "encoder.conv_pos_groups=4", "predictor.final_dim=8",
          "target.num_classes=[7]", "audio.min_samples=1000"]
LARGE = ["encoder.pre_norm=true", "encoder.conv_norm=layer", "encoder.conv_bias=true", "audio.normalize=true"]
PLAIN = ["data.mean=[0.5, 0.5, 0.5]", "data.std=[0.5, 0.5, 0.5]"]


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def sets(settings):
    return [part for setting in settings for part in ("--set", setting)]


def pictures():
    folder = FOLDER / "pictures"
    folder.mkdir()
    generator = numpy.random.default_rng(0)
    pixels = generator.integers(0, 256, (6, 32, 32, 3), dtype=numpy.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder, ((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).contiguous()


DATA, IMAGES = pictures()


def sounds():
    """Clips of one length: a row must not be filled, or the group norms would see what fills it."""
    folder = FOLDER / "sounds"
    folder.mkdir()
    generator = numpy.random.default_rng(1)
    clips = (generator.standard_normal((4, 4000)) * 3000).astype("<i2")
    for i, clip in enumerate(clips):
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
            file.writeframes(clip.tobytes())
    return f"audio:{folder}", torch.from_numpy(clips.astype("float32")) / 32768


SOUND, WAVES = sounds()


def train_nothing(name, method, settings, data=None):
    """A network whose weights are its first draws, moved a little so that no bias or norm is trivial."""
    out = FOLDER / name
    run("pretrain", method, "--out", out, "--data", data or DATA, *sets(settings + ([] if data else PLAIN) + [
        "train.steps=0", "train.batch_size=2", "health.samples=2", "health.preview_images=1"]))
    run("export", out, "--format", "official", "--out", FOLDER / f"{name}-official")
    path = FOLDER / f"{name}-official" / "model.safetensors"
    from safetensors import safe_open
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    generator = torch.Generator().manual_seed(1)
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not key.endswith(("attn_mask", "pos_embed")):
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.05)
    moved = FOLDER / f"{name}.safetensors"
    save_file(tensors, moved, metadata=metadata)
    return moved


def sound_features(weights, *more):
    out = FOLDER / "features.safetensors"
    run("features", weights, "--data", SOUND, "--out", out, *sets(more))
    return load_file(out)["features"]


def features(weights, *more):
    """Ours, of the pictures as they are."""
    out = FOLDER / "features.safetensors"
    run("features", weights, "--data", DATA, "--out", out, "--set", "eval.pool=avg", *sets(["augment.crop=resize", *more]))
    return load_file(out)["features"]


failures = 0


def check(what, ours, theirs):
    global failures
    error = (ours - theirs).abs().max().item()
    good = error <= TOLERANCE
    failures += not good
    print(f"{'PASS' if good else 'FAIL'} {what}  max abs difference {error:.2e}")


def export(weights, form):
    out = FOLDER / f"{pathlib.Path(weights).stem}-{form}"
    run("export", weights, "--format", form, "--out", out)
    return out


def case(name, method, config, weights, inputs, outputs):
    """A golden case whose outputs are a peer's: `lacuna verify` says whether ours are the same."""
    folder = FOLDER / f"case-{name}"
    folder.mkdir()

    def toml(table, prefix=""):
        plain = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items() if not isinstance(value, dict))
        return plain + "".join(f"[{prefix}{key}]\n" + toml(value, f"{prefix}{key}.") for key, value in table.items()
                               if isinstance(value, dict))

    (folder / "case.toml").write_text(toml({"method": method, "kind": "pretrain", "config": config}))
    save_file(load_file(weights), folder / "weights.safetensors")
    save_file(inputs, folder / "inputs.safetensors")
    save_file(outputs, folder / "outputs.safetensors")
    print(run("verify", folder).strip())


def check_mae():
    weights = train_nothing("mae", "mae", MAE)
    hf = export(weights, "hf")
    model = transformers.ViTMAEForPreTraining.from_pretrained(hf).eval()
    noise = torch.rand(6, 16)
    with torch.no_grad():
        out = model(IMAGES, noise=noise)
        model.vit.config.mask_ratio = 0.0
        model.vit.embeddings.config.mask_ratio = 0.0
        theirs = model.vit(IMAGES, noise=noise).last_hidden_state[:, 1:].mean(1)
    case("mae", "mae", {"encoder": {"arch": "vit", "img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1},
                        "decoder": {"embed_dim": 32, "depth": 1, "num_heads": 1}, "loss": {"norm_pix_loss": True}},
         weights, {"imgs": IMAGES, "noise": noise}, {"loss": out.loss, "pred": out.logits.contiguous()})
    check("mae -> transformers, features", features(weights), theirs)
    # The other way: what transformers saves (under whichever names its version has) is read again.
    model.save_pretrained(FOLDER / "mae-saved")
    check("transformers -> mae, features",
          features(FOLDER / "mae-saved" / "model.safetensors", *PLAIN, "encoder.norm_eps=1e-6"), theirs)
    return weights, theirs


def check_swin():
    weights = train_nothing("swin", "simmim", SWIN)
    model = transformers.SwinForMaskedImageModeling.from_pretrained(export(weights, "hf")).eval()
    perm = torch.stack([torch.randperm(16) for _ in range(6)])
    hidden = torch.zeros(6, 16, dtype=torch.long).scatter_(1, perm[:, :10], 1).view(6, 4, 4)
    hidden = hidden.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        out = model(IMAGES, bool_masked_pos=hidden.flatten(1).bool())
        theirs = model.swin(IMAGES).last_hidden_state.mean(1)
    case("swin", "simmim",
         {"encoder": {"arch": "swin", "img_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2],
                      "window_size": 4}, "mask": {"mask_patch_size": 8, "ratio": 0.6}},
         weights, {"imgs": IMAGES, "perm": perm}, {"loss": out.loss, "rec": out.reconstruction.contiguous()})
    check("simmim (Swin) -> transformers, features", features(weights), theirs)
    model.save_pretrained(FOLDER / "swin-saved")
    check("transformers -> simmim (Swin), features",
          features(FOLDER / "swin-saved" / "model.safetensors", *PLAIN, "encoder.img_size=32"), theirs)
    return weights, theirs


def check_timm(timm, mae, swin):
    def load(weights):
        folder = export(weights, "timm")
        config = json.loads((folder / "config.json").read_text())
        module, name = config["model"].split(".")[2:]
        eps = config["norm_eps"]
        model = getattr(getattr(timm.models, module), name)(
            **config["model_args"], norm_layer=lambda *size, **more: torch.nn.LayerNorm(*size, **{**more, "eps": eps}))
        model.load_state_dict(load_file(folder / "encoder.safetensors"))  # strict
        return folder, model.eval()

    with torch.no_grad():
        folder, model = load(mae)
        theirs = model.forward_features(IMAGES)[:, 1:].mean(1)
        check("mae -> timm, features", features(mae), theirs)
        check("timm -> mae, features", features(folder / "encoder.safetensors", *PLAIN, "encoder.num_heads=1"), theirs)
        folder, model = load(swin)
        theirs = model.forward_features(IMAGES).mean((1, 2))
        check("simmim (Swin) -> timm, features", features(swin), theirs)
        check("timm -> simmim (Swin), features",
              features(folder / "encoder.safetensors", *PLAIN, "encoder.img_size=32"), theirs)
        beit = train_nothing("beit", "simmim", BEIT)
        folder, model = load(beit)
        check("simmim (BEiT) -> timm, features", features(beit), model.forward_features(IMAGES)[:, 1:].mean(1))


def check_hubert(name, more):
    weights = train_nothing(name, "speech-targets", HUBERT + more, SOUND)
    model = transformers.HubertModel.from_pretrained(export(weights, "hf")).eval()
    large = bool(more)
    heard = WAVES
    if large:
        heard = (WAVES - WAVES.mean(1, keepdim=True)) / torch.sqrt(WAVES.var(1, unbiased=False, keepdim=True) + 1e-5)
    blocks = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda module, given, out: blocks.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        out = model(heard, output_hidden_states=True)
        conv = model.feature_extractor(heard)
    config = {"encoder": {"conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 2 + [(16,2,2)]", "encoder_layers": 2,
                          "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 96, "encoder_attention_heads": 3, "conv_pos": 8,
                          "conv_pos_groups": 4, "final_dim": 8, "extractor_mode": "layer_norm" if large else "default",
                          "layer_norm_first": large, "conv_bias": large},
              "mask": {"mask_prob": 0.0}, "target": {"num_classes": [7], "sample_rate": 16000, "label_rate": 400.0}}
    frames = conv.shape[2]
    case(name, "speech-targets", config, weights, {"source": heard.contiguous(), "target_0": torch.zeros(4, frames, dtype=torch.long)},
         {"conv_features": conv.contiguous(), "layer1_unmasked": blocks[0].contiguous(),
          "latent": out.last_hidden_state.contiguous()})
    theirs = blocks[-1].mean(1)
    check(f"{name} -> transformers, features", sound_features(weights), theirs)
    model.save_pretrained(FOLDER / f"{name}-saved")
    check(f"transformers -> {name}, features",
          sound_features(FOLDER / f"{name}-saved" / "model.safetensors", "encoder.num_heads=3"), theirs)


transformers.logging.set_verbosity_error()
torch.manual_seed(0)
mae, _ = check_mae()
swin, _ = check_swin()
check_hubert("hubert", [])
check_hubert("hubert-large", LARGE)
peer = import_timm()
if peer:
    check_timm(peer, mae, swin)
sys.exit(1 if failures else 0)
