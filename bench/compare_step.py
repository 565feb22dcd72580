#!/usr/bin/env python3
"""One training step of MAE, SimMIM, speech-targets, MEAP or CLIP: Lacuna beside transformers, interleaved in one go; for MAE also beside the
official way in plain PyTorch (plain_mae.py) and lightly. All but lightly both eager and under torch.compile.

The same network (MAE: the ViT and decoder of the options; SimMIM: Swin-T, window 6, cells of 32 pixels; speech-targets: HuBERT's front-end,
the options' width, depth and heads, 500 classes, no dropout; MEAP: Llama of 320 tokens, a loss at each place; CLIP: the ViT of the options and
a text tower as wide as deep as the decoder's options, 77 tokens), batch and precision; random pictures, sound or tokens that lie ready; forward, backward and a fused AdamW step. Contestants take turns, each turn in a process of its own, so that a slow minute of the machine hits all of them.
Prints medians over turns with their range, and the ratio of each peer's time and peak memory to ours.

usage: compare_step.py [--method mae|simmim|speech-targets|meap|clip] [--turns 5] [--steps 6] [--batch 32] [--img 224] [--precision bf16|fp32] [--json]
(needs tools/setup_peers.sh; a peer that is not installed is named and left out)
"""
import argparse
import json
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHODS = ("mae", "simmim", "speech-targets", "meap", "clip")
VOCABULARY = 320
CLIP_TOKENS = 77


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=list(METHODS), default="mae")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a turn")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--img", type=int, default=0, help="192 for SimMIM, else 224")
    parser.add_argument("--seconds", type=float, default=2, help="of sound, speech-targets")
    parser.add_argument("--context", type=int, default=256, help="tokens of a text, meap")
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--decoder-dim", type=int, default=192)
    parser.add_argument("--decoder-depth", type=int, default=4)
    parser.add_argument("--decoder-heads", type=int, default=3)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--peak-tflops", type=float, default=0, help="of the device at that precision; MAE's share of them is then printed")
    parser.add_argument("--program", default=str(ROOT / "build/release/lacuna"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.img = options.img or (192 if options.method == "simmim" else 224)
    return options


def transformers_simmim(options):
    import torch
    from transformers import SwinConfig, SwinForMaskedImageModeling

    model = SwinForMaskedImageModeling(SwinConfig(image_size=options.img, patch_size=4, embed_dim=96, depths=[2, 2, 6, 2],
                                                  num_heads=[3, 6, 12, 24], window_size=6, encoder_stride=32, drop_path_rate=0.0))
    cells = options.img // 32

    class SimMIM(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            ranks = torch.rand(len(images), cells * cells).argsort(dim=1).argsort(dim=1)
            hidden = (ranks < round(0.6 * cells * cells)).view(-1, cells, cells)
            return self.model(images, hidden.repeat_interleave(8, 1).repeat_interleave(8, 2).flatten(1))

    return SimMIM()


def transformers_hubert(options):
    """HubertModel with HuBERT's pre-training head, which transformers has not: projection, cosines with the classes' vectors."""
    import torch
    from transformers import HubertConfig, HubertModel
    from transformers.models.hubert.modeling_hubert import _compute_mask_indices

    zero = {key: 0.0 for key in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop",
                                 "final_dropout")}
    encoder = HubertModel(HubertConfig(hidden_size=options.dim, num_hidden_layers=options.depth, num_attention_heads=options.heads,
                                       intermediate_size=4 * options.dim, **zero))

    class Hubert(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder
            self.final_proj = torch.nn.Linear(options.dim, 256)
            self.classes = torch.nn.Parameter(torch.rand(500, 256))

        def forward(self, sound):
            frames = int(self.encoder._get_feat_extract_output_lengths(sound.shape[1]))
            hidden = torch.from_numpy(_compute_mask_indices((len(sound), frames), 0.8, 10, min_masks=2))
            x = self.encoder(sound, mask_time_indices=hidden).last_hidden_state[hidden]
            scores = torch.nn.functional.cosine_similarity(self.final_proj(x).float()[:, None], self.classes[None], dim=-1) / 0.1
            return torch.nn.functional.cross_entropy(scores, torch.arange(len(x)) % 500)

    return Hubert()


def transformers_llama(options):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, hidden_size=options.dim, num_hidden_layers=options.depth,
                                         num_attention_heads=options.heads, num_key_value_heads=options.heads,
                                         intermediate_size=4 * options.dim, max_position_embeddings=options.context))

    class Meap(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, tokens):
            seen = tokens.masked_fill(torch.rand(tokens.shape, device=tokens.device) < 0.15, VOCABULARY - 1)
            return self.model(input_ids=seen, labels=tokens)

    return Meap()


def transformers_clip(options):
    import torch
    from transformers import CLIPConfig, CLIPModel

    vision = {"hidden_size": options.dim, "num_hidden_layers": options.depth, "num_attention_heads": options.heads,
              "intermediate_size": 4 * options.dim, "image_size": options.img, "patch_size": options.patch}
    text = {"hidden_size": options.decoder_dim, "num_hidden_layers": options.decoder_depth, "num_attention_heads": options.decoder_heads,
            "intermediate_size": 4 * options.decoder_dim, "vocab_size": VOCABULARY, "max_position_embeddings": CLIP_TOKENS,
            "eos_token_id": VOCABULARY - 1, "bos_token_id": VOCABULARY - 2}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=options.dim))

    class Clip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images, tokens):
            return self.model(pixel_values=images, input_ids=tokens, return_loss=True)

    return Clip()


def transformers_mae(options):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    return ViTMAEForPreTraining(ViTMAEConfig(
        image_size=options.img, patch_size=options.patch, hidden_size=options.dim, num_hidden_layers=options.depth,
        num_attention_heads=options.heads, intermediate_size=4 * options.dim, decoder_hidden_size=options.decoder_dim,
        decoder_num_hidden_layers=options.decoder_depth, decoder_num_attention_heads=options.decoder_heads,
        decoder_intermediate_size=4 * options.decoder_dim, mask_ratio=0.75, norm_pix_loss=True))


def stand_in_for_torchvision_operators():
    """The torchvision of PyPI is built against CUDA: its compiled operators don't load beside a CPU torch. Importing lightly
    asks that they exist; none is called."""
    import torch

    sys.path.append(str(ROOT / ".venv/lightly"))
    registrations = (ROOT / ".venv/lightly/torchvision/_meta_registrations.py").read_text()
    names = set(re.findall(r'register_meta\("(\w+)"\)|"torchvision::(\w+)"', registrations))
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted({one or other for one, other in names}):
        library.define(f"{name}(Tensor x) -> Tensor")
    sys.modules["lacuna_stand_in"] = library  # alive as long as the process


def plain_mae(options):
    stand_in_for_torchvision_operators()
    from plain_mae import PlainMAE

    return PlainMAE(options.img, options.patch, options.dim, options.depth, options.heads, options.decoder_dim,
                    options.decoder_depth, options.decoder_heads)


def lightly_mae(options):
    """The model of lightly's MAE example (examples/pytorch/mae.py) at these sizes."""
    import torch

    stand_in_for_torchvision_operators()
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
    from timm.models.vision_transformer import VisionTransformer

    class MAE(torch.nn.Module):
        def __init__(self):
            super().__init__()
            vit = VisionTransformer(img_size=options.img, patch_size=options.patch, embed_dim=options.dim, depth=options.depth,
                                    num_heads=options.heads, num_classes=0)
            self.backbone = MaskedVisionTransformerTIMM(vit=vit)
            self.tokens = self.backbone.sequence_length
            self.decoder = MAEDecoderTIMM(num_patches=vit.patch_embed.num_patches, patch_size=options.patch,
                                          embed_dim=options.dim, decoder_embed_dim=options.decoder_dim,
                                          decoder_depth=options.decoder_depth, decoder_num_heads=options.decoder_heads,
                                          mlp_ratio=4.0, proj_drop_rate=0.0, attn_drop_rate=0.0)

        def forward(self, images):
            kept, masked = utils.random_token_mask(size=(len(images), self.tokens), mask_ratio=0.75, device=images.device)
            encoded = self.decoder.embed(self.backbone.encode(images=images, idx_keep=kept))
            tokens = utils.repeat_token(self.decoder.mask_token, (len(images), self.tokens))
            decoded = self.decoder.decode(utils.set_at_index(tokens, kept, encoded.type_as(tokens)))
            predicted = self.decoder.predict(utils.get_at_index(decoded, masked))
            target = utils.get_at_index(utils.patchify(images, options.patch), masked - 1)
            target = utils.normalize_mean_var(target, dim=-1) if hasattr(utils, "normalize_mean_var") else target
            return torch.nn.functional.mse_loss(predicted, target)

    return MAE()


def inputs_of(options):
    """Random, of one batch, on the device."""
    import torch

    batch, device = options.batch, options.device
    images = lambda: torch.randn(batch, 3, options.img, options.img, device=device)
    tokens = lambda length: torch.randint(0, VOCABULARY - 2, (batch, length), device=device)
    return {"speech-targets": lambda: (torch.randn(batch, round(options.seconds * 16000), device=device),),
            "meap": lambda: (tokens(options.context),),
            "clip": lambda: (images(), tokens(CLIP_TOKENS))}.get(options.method, lambda: (images(),))()


def peer_turn(options):
    import torch

    torch.manual_seed(0)
    library, _, mode = options.peer.partition(" ")
    theirs = {"mae": transformers_mae, "simmim": transformers_simmim, "speech-targets": transformers_hubert, "meap": transformers_llama,
              "clip": transformers_clip}[options.method]
    model = {"lightly": lightly_mae, "plain": plain_mae, "transformers": theirs}[library](options)
    model.train().to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    step_model = torch.compile(model) if mode == "compiled" else model
    inputs = inputs_of(options)

    def step():
        optimizer.zero_grad()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            out = step_model(*inputs)
        loss = out.loss if hasattr(out, "loss") else out
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(options.warmup):
        step()
    seconds = []
    for _ in range(options.steps):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    on_gpu = options.device == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"median": statistics.median(seconds), "peak_memory_mib": peak, "torch": torch.__version__}))


def our_settings(options):
    if options.method == "meap":
        return ["text.tokenizer=bytes", f"encoder.vocab_size={VOCABULARY}", f"encoder.context={options.context}",
                f"encoder.embed_dim={options.dim}", f"encoder.depth={options.depth}", f"encoder.num_heads={options.heads}",
                f"encoder.num_kv_heads={options.heads}", f"encoder.mlp_dim={4 * options.dim}"]
    if options.method == "clip":
        return ["encoder.arch=clip_vit", f"encoder.img_size={options.img}", f"encoder.patch_size={options.patch}",
                f"encoder.embed_dim={options.dim}", f"encoder.depth={options.depth}", f"encoder.num_heads={options.heads}",
                f"text.context_length={CLIP_TOKENS}", f"text.embed_dim={options.decoder_dim}", f"text.depth={options.decoder_depth}",
                f"text.num_heads={options.decoder_heads}", f"projection.dim={options.dim}"]
    if options.method == "simmim":
        return ["encoder.arch=swin_tiny", "encoder.window_size=6", "encoder.patch_size=4", "mask.mask_patch_size=32", "mask.ratio=0.6"]
    if options.method == "speech-targets":
        zero = [f"encoder.{key}=0" for key in ("dropout", "attention_dropout", "dropout_input", "layerdrop")]
        return ["encoder.arch=hubert", f"encoder.embed_dim={options.dim}", f"encoder.depth={options.depth}",
                f"encoder.num_heads={options.heads}", "encoder.feature_grad_mult=1", "target.num_classes=[500]", "audio.label_rate=50",
                "audio.min_samples=1000", f"audio.max_samples={round(options.seconds * 16000)}", "audio.batch_samples=0", *zero]
    return [f"encoder.patch_size={options.patch}", "encoder.arch=vit", f"encoder.embed_dim={options.dim}",
            f"encoder.depth={options.depth}", f"encoder.num_heads={options.heads}", f"decoder.embed_dim={options.decoder_dim}",
            f"decoder.depth={options.decoder_depth}", f"decoder.num_heads={options.decoder_heads}"]


def our_turn(options):
    size = [f"encoder.img_size={options.img}"] if options.method in ("mae", "simmim") else []
    settings = [*our_settings(options), *size, f"train.batch_size={options.batch}",
                f"train.precision={options.precision}", f"train.device={options.device}"]
    command = [options.program, "bench", "step", options.method, "--json", "--runs", str(options.steps), "--warmup", str(options.warmup)]
    done = subprocess.run(command + [part for setting in settings for part in ("--set", setting)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout)
    return {"median": result["step_s"]["median"], "peak_memory_mib": result["peak_memory_mib"], "threads": result["threads"]}


def their_turn(name):
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--peer", name], capture_output=True, text=True)
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def mae_flops(options):
    """Of one step: products of forward and twice as many of backward. A block of width d over n tokens has 24 n d^2 + 4 n^2 d."""
    patches = (options.img // options.patch) ** 2
    seen = 1 + patches // 4

    def blocks(tokens, dim, depth):
        return depth * (24 * tokens * dim**2 + 4 * tokens**2 * dim)

    values = 3 * options.patch**2
    hidden = patches - patches // 4
    ends = 2 * values * options.dim * (seen - 1) + 2 * options.dim * options.decoder_dim * seen + 2 * options.decoder_dim * values * hidden
    forward = blocks(seen, options.dim, options.depth) + blocks(1 + patches, options.decoder_dim, options.decoder_depth) + ends
    return 3 * options.batch * forward


def main():
    options = arguments()
    if options.peer:
        return peer_turn(options)
    peers = ["transformers eager", "transformers compiled"]
    if options.method == "mae":
        peers += ["plain eager", "plain compiled", "lightly"]
    contestants = {"lacuna": our_turn, **{peer: lambda _, peer=peer: their_turn(peer) for peer in peers}}
    turns = {name: [] for name in contestants}
    left_out = {}
    for number in range(options.turns):
        for name, turn in contestants.items():
            if name in left_out:
                continue
            result = turn(options)
            if "problem" in result:
                left_out[name] = result["problem"]
                continue
            turns[name].append(result)
            print(f"turn {number + 1}: {name} {result['median'] * 1e3:.0f} ms", file=sys.stderr)
    rows = {}
    for name, results in turns.items():
        if results:
            seconds = [result["median"] for result in results]
            rows[name] = {"step_ms": statistics.median(seconds) * 1e3, "step_ms_range": [min(seconds) * 1e3, max(seconds) * 1e3],
                          "peak_memory_mib": statistics.median(result["peak_memory_mib"] for result in results)}
    ours = rows["lacuna"]
    for row in rows.values():
        row["time_over_ours"] = row["step_ms"] / ours["step_ms"]
        row["memory_over_ours"] = row["peak_memory_mib"] / ours["peak_memory_mib"]
        row["images_per_s"] = options.batch / row["step_ms"] * 1e3
        if options.method == "mae" and options.peak_tflops:
            row["utilisation"] = mae_flops(options) / (row["step_ms"] / 1e3) / (options.peak_tflops * 1e12)
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "peer", "program")}
    if options.json:
        print(json.dumps({"settings": settings, "results": rows, "left_out": left_out}, indent=2))
        return None
    print(f"{options.method} step, {settings}")
    for name, row in rows.items():
        low, high = row["step_ms_range"]
        print(f"  {name:22} {row['step_ms']:7.0f} ms ({low:.0f} to {high:.0f})  {row['time_over_ours']:.2f} x ours   "
              f"peak {row['peak_memory_mib']:6.0f} MiB  {row['memory_over_ours']:.2f} x ours"
              + (f"  {row['utilisation']:.0%} of peak" if "utilisation" in row else ""))
    for name, problem in left_out.items():
        print(f"  {name:22} left out: {problem}")


if __name__ == "__main__":
    main()
