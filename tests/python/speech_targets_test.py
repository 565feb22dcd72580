#!/usr/bin/env python3
"""Golden cases of speech-targets with options that the shared ones do not take, from a second reading of HuBERT in PyTorch:
`lacuna verify` must agree, gradients included.

usage: speech_targets_test.py PROGRAM   (exit 77: torch or safetensors is not installed here)
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

# The figures are float64's: what differs is ours.
torch.set_default_dtype(torch.float64)
PROGRAM = sys.argv[1]
FOLDER = pathlib.Path(tempfile.mkdtemp())

BASE = {
    "encoder": {"extractor_mode": "default", "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 2 + [(16,2,2)]", "conv_bias": False,
                "encoder_layers": 2, "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 40, "encoder_attention_heads": 3,
                "activation_fn": "gelu", "layer_type": "transformer", "dropout": 0.0, "attention_dropout": 0.0,
                "activation_dropout": 0.0, "encoder_layerdrop": 0.0, "dropout_input": 0.0, "dropout_features": 0.0,
                "final_dim": 12, "untie_final_proj": True, "layer_norm_first": False, "logit_temp": 0.1, "target_glu": False,
                "feature_grad_mult": 0.1, "conv_pos": 8, "conv_pos_groups": 4, "conv_pos_batch_norm": False, "skip_masked": False,
                "skip_nomask": False, "checkpoint_activations": False, "required_seq_len_multiple": 2},
    "mask": {"mask_length": 4, "mask_prob": 0.65, "mask_selection": "static", "mask_other": 0.0, "no_mask_overlap": False,
             "mask_min_space": 1, "mask_channel_length": 3, "mask_channel_prob": 0.0, "mask_channel_selection": "static",
             "mask_channel_other": 0.0, "no_mask_channel_overlap": False, "mask_channel_min_space": 1},
    "target": {"num_classes": [9, 7], "sample_rate": 16000, "label_rate": 800.0},
    "loss": {"pred_masked_weight": 1.0, "pred_nomask_weight": 0.0, "loss_weights": [10.0]},
}


def parameters(config):
    """Random weights under fairseq's names."""
    e, out = config["encoder"], {}
    generator = torch.Generator().manual_seed(3)

    def make(name, *shape, scale=0.1, around=0.0):
        drawn = torch.randn(*shape, generator=generator) * scale + around
        out[name] = drawn.float().double().requires_grad_()  # as they are stored

    channels, layer_mode = 1, e["extractor_mode"] == "layer_norm"
    for i, (size, kernel, _) in enumerate(eval(e["conv_feature_layers"])):
        make(f"feature_extractor.conv_layers.{i}.0.weight", size, channels, kernel, scale=0.3)
        if e["conv_bias"]:
            make(f"feature_extractor.conv_layers.{i}.0.bias", size)
        if layer_mode or i == 0:
            norm = f"feature_extractor.conv_layers.{i}.2" + (".1" if layer_mode else "")
            make(norm + ".weight", size, around=1), make(norm + ".bias", size)
        channels = size
    D, H = e["encoder_embed_dim"], e["encoder_ffn_embed_dim"]
    make("layer_norm.weight", channels, around=1), make("layer_norm.bias", channels)
    if channels != D:
        make("post_extract_proj.weight", D, channels), make("post_extract_proj.bias", D)
    make("mask_emb", D)
    make("encoder.pos_conv.0.weight_g", 1, 1, e["conv_pos"], around=1)
    make("encoder.pos_conv.0.weight_v", D, D // e["conv_pos_groups"], e["conv_pos"]), make("encoder.pos_conv.0.bias", D)
    for l in range(e["encoder_layers"]):
        at = f"encoder.layers.{l}."
        for part in "qkv":
            make(f"{at}self_attn.{part}_proj.weight", D, D), make(f"{at}self_attn.{part}_proj.bias", D)
        make(at + "self_attn.out_proj.weight", D, D), make(at + "self_attn.out_proj.bias", D)
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            make(f"{at}{norm}.weight", D, around=1), make(f"{at}{norm}.bias", D)
        make(at + "fc1.weight", H, D), make(at + "fc1.bias", H), make(at + "fc2.weight", D, H), make(at + "fc2.bias", D)
    make("encoder.layer_norm.weight", D, around=1), make("encoder.layer_norm.bias", D)
    E, sets = e["final_dim"] or D, len(config["target"]["num_classes"])
    wide = E * sets if e["untie_final_proj"] else E
    make("final_proj.weight", wide, D), make("final_proj.bias", wide)
    make("label_embs_concat", sum(config["target"]["num_classes"]), E)
    if e["target_glu"]:
        make("target_glu.0.weight", 2 * E, E), make("target_glu.0.bias", 2 * E)
    return out


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(context, x, factor):
        context.factor = factor
        return x.clone()

    @staticmethod
    def backward(context, grad):
        return grad * context.factor, None


class Hubert:
    def __init__(self, config):
        self.config, self.e, self.p = config, config["encoder"], parameters(config)

    def linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p[name + ".bias"])

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.p[name + ".weight"], self.p[name + ".bias"], 1e-5)

    def conv(self, wave):
        x, p = wave[:, None], self.p
        for i, (size, _, stride) in enumerate(eval(self.e["conv_feature_layers"])):
            at = f"feature_extractor.conv_layers.{i}"
            x = F.conv1d(x, p[at + ".0.weight"], p.get(at + ".0.bias"), stride)
            if self.e["extractor_mode"] == "layer_norm":
                x = self.norm(x.transpose(1, 2), at + ".2.1").transpose(1, 2)
            elif i == 0:
                x = F.group_norm(x, size, p[at + ".2.weight"], p[at + ".2.bias"], 1e-5)
            x = F.gelu(x)
        return x

    def block(self, x, l, padding):
        at = f"encoder.layers.{l}."
        act = F.relu if self.e["activation_fn"] == "relu" else F.gelu

        def attend(y):
            B, T, D = y.shape
            h = self.e["encoder_attention_heads"]
            q, k, v = (self.linear(y, f"{at}self_attn.{n}_proj").view(B, T, h, D // h).transpose(1, 2) for n in "qkv")
            scores = q @ k.transpose(2, 3) / math.sqrt(D // h)
            scores = scores.masked_fill(padding[:, None, None], -math.inf)
            return self.linear((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D), at + "self_attn.out_proj")

        def feed(y):
            return self.linear(act(self.linear(y, at + "fc1")), at + "fc2")

        if self.e["layer_norm_first"]:
            x = x + attend(self.norm(x, at + "self_attn_layer_norm"))
            return x + feed(self.norm(x, at + "final_layer_norm"))
        x = self.norm(x + attend(x), at + "self_attn_layer_norm")
        return self.norm(x + feed(x), at + "final_layer_norm")

    def encode(self, features, mask, channels, padding, last=None):
        x = self.norm(features.transpose(1, 2), "layer_norm")
        if "post_extract_proj.weight" in self.p:
            x = self.linear(x, "post_extract_proj")
        if mask is not None:
            x = torch.where(mask[..., None], self.p["mask_emb"], x)
        if channels is not None:
            x = x.masked_fill(channels[:, None], 0)
        x = x.masked_fill(padding[..., None], 0)
        v, g = self.p["encoder.pos_conv.0.weight_v"], self.p["encoder.pos_conv.0.weight_g"]
        k = self.e["conv_pos"]
        y = F.conv1d(x.transpose(1, 2), g * v / v.norm(dim=(0, 1), keepdim=True), self.p["encoder.pos_conv.0.bias"], padding=k // 2,
                     groups=self.e["conv_pos_groups"])
        x = x + F.gelu(y[..., :-1] if k % 2 == 0 else y).transpose(1, 2)
        if not self.e["layer_norm_first"]:
            x = self.norm(x, "encoder.layer_norm")
        for l in range(last or self.e["encoder_layers"]):
            x = self.block(x, l, padding)
        return self.norm(x, "encoder.layer_norm") if self.e["layer_norm_first"] and last is None else x


def case(name, changes, padded=True):
    config = json.loads(json.dumps(BASE))
    for key, value in changes.items():
        part, key = key.split(".")
        config[part][key] = value
    e, model = config["encoder"], Hubert(config)
    generator = torch.Generator().manual_seed(5)
    wave = torch.randn(3, 1500, generator=generator) * 0.3
    pad = torch.zeros(3, 1500, dtype=torch.bool)
    if padded:
        pad[1, 1100:], pad[2, 900:] = True, True
    wave = wave.masked_fill(pad, 0).float().double()
    sets = config["target"]["num_classes"]
    labels = [torch.randint(k, (3, 74), generator=generator) for k in sets]
    stride = math.prod(s for _, _, s in eval(e["conv_feature_layers"]))
    ratio = config["target"]["label_rate"] * stride / config["target"]["sample_rate"]

    if e["feature_grad_mult"] > 0:
        features = Scale.apply(model.conv(wave), e["feature_grad_mult"])
    else:
        with torch.no_grad():
            features = model.conv(wave)
    T = features.shape[2]
    if ratio * T > 74:
        T = int(74 / ratio)
        features = features[..., :T]
    aligned = [label[:, (torch.arange(T).to(torch.float32) * ratio).long()] for label in labels]
    pen = features.pow(2).mean()
    extra = 1500 % T
    padding = pad[:, :1500 - extra].view(3, T, -1).all(-1) if extra else pad.view(3, T, -1).all(-1)

    # The mask: spans by hand, a row cut down to a subset.
    starts = torch.tensor([[1, 9, -1], [4, 6, 12], [0, 8, -1]])
    keep = torch.full((3, 9), -1)
    mask = torch.zeros(3, T, dtype=torch.bool)
    length = (~padding).sum(1)
    for b in range(3):
        for s in starts[b].tolist():
            if s >= 0:
                mask[b, s:min(s + config["mask"]["mask_length"], int(length[b]))] = True
    places = mask[1].nonzero().flatten()[:6]
    keep[1, :6] = places
    mask[1] = False
    mask[1, places] = True
    inputs = {"source": wave, "mask_u": torch.zeros(3), "mask_starts": starts, "mask_keep": keep, "mask": mask}
    if padded:
        inputs["padding_mask"] = pad
    channels = None
    if config["mask"]["mask_channel_prob"] > 0:
        channels = torch.rand(3, e["encoder_embed_dim"], generator=generator) < 0.2
        inputs["mask_channel"] = channels
    for j, label in enumerate(labels):
        inputs[f"target_{j}"] = label

    latent = model.encode(features, mask, channels, padding)
    out = {"latent": latent, "mask": mask, "frame_padding_mask": padding, "conv_features": features, "features_pen": pen}
    total, S = torch.zeros(()), 0
    E = e["final_dim"] or e["encoder_embed_dim"]
    for part, chosen, weight, skipped in (("m", mask & ~padding, config["loss"]["pred_masked_weight"], e["skip_masked"]),
                                          ("u", ~mask & ~padding, config["loss"]["pred_nomask_weight"], e["skip_nomask"])):
        if skipped:
            continue
        projected = model.linear(latent[chosen], "final_proj")
        at = 0
        for j, k in enumerate(sets):
            p = projected[:, j * E:(j + 1) * E] if e["untie_final_proj"] else projected
            vectors = model.p["label_embs_concat"][at:at + k]
            at += k
            if e["target_glu"]:
                vectors = F.glu(model.linear(vectors, "target_glu.0"), -1)
            logits = F.cosine_similarity(p[:, None], vectors[None], dim=-1, eps=1e-8) / e["logit_temp"]
            wanted = aligned[j][chosen]
            loss = F.cross_entropy(logits, wanted, reduction="sum")
            out[f"loss.{part}_{j}"] = loss
            own = logits.gather(1, wanted[:, None])
            out[f"logit_{part}_{j}"] = torch.cat([own, logits.scatter(1, wanted[:, None], -1e4)], 1)
            out[f"metric.correct_{part}_{j}"] = (own[:, 0] >= logits.max(1).values).sum()
            out[f"metric.count_{part}_{j}"] = torch.tensor(len(wanted))
            if weight > 0:
                total = total + weight * loss
        if weight > 0:
            S += int(chosen.sum())
    out["loss.features_pen"] = config["loss"]["loss_weights"][0] * pen * S
    out["loss"] = total + out["loss.features_pen"]
    out["loss_mean"] = out["loss"] / S
    out["sample_size"] = torch.tensor(float(S))
    out["loss"].backward()
    for key, parameter in model.p.items():
        # A key's bias moves all scores of a query alike: its gradient is 0, and float32 gives noise.
        if parameter.grad is not None and not key.endswith("k_proj.bias"):
            out["grad." + key] = parameter.grad
    with torch.no_grad():
        out["layer1_unmasked"] = model.encode(features, None, None, padding, last=1)

    folder = FOLDER / name
    folder.mkdir()

    def toml(table, prefix=""):
        plain = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items() if not isinstance(value, dict))
        return plain + "".join(f"[{prefix}{key}]\n" + toml(value, f"{prefix}{key}.") for key, value in table.items()
                               if isinstance(value, dict))

    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    (folder / "case.toml").write_text(
        toml({"method": "speech-targets", "kind": "pretrain", "tolerance": tolerance, "config": config}))
    for part, tensors in (("weights", model.p), ("inputs", inputs), ("outputs", out)):
        single = {key: t.detach().to(torch.float32) if t.is_floating_point() else t for key, t in tensors.items()}
        save_file({key: t.contiguous().clone() for key, t in single.items()}, folder / f"{part}.safetensors")
    return folder


LARGE = {"encoder.extractor_mode": "layer_norm", "encoder.layer_norm_first": True, "encoder.conv_bias": True,
         "encoder.feature_grad_mult": 1.0}
folders = [
    case("plain", {}),
    case("large", LARGE),
    case("large-unpadded", LARGE, padded=False),
    case("tied-equal-width", {"encoder.untie_final_proj": False, "encoder.encoder_embed_dim": 16, "encoder.encoder_attention_heads": 2,
                              "encoder.final_dim": 0}),
    case("unmasked-loss", {"loss.pred_nomask_weight": 0.5, "loss.pred_masked_weight": 0.7, "loss.loss_weights": [3.0]}),
    case("glu-relu-odd-positions", {"encoder.target_glu": True, "encoder.activation_fn": "relu", "encoder.conv_pos": 7}),
    case("frozen-front", {"encoder.feature_grad_mult": 0.0, "encoder.skip_nomask": True}),
    case("channels", {"mask.mask_channel_prob": 0.3, "encoder.logit_temp": 0.2}),
    case("one-set-short-labels", {"target.num_classes": [5], "target.label_rate": 1000.0}),
    case("three-sets-slow-labels", {"target.num_classes": [5, 6, 3], "target.label_rate": 400.0}),
]
done = subprocess.run([PROGRAM, "verify", *map(str, folders)], capture_output=True, text=True)
print(done.stdout.strip(), done.stderr.strip(), sep="\n")
sys.exit(done.returncode)
