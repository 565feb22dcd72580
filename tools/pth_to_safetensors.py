#!/usr/bin/env python3
"""Converts a PyTorch checkpoint (.pth, .pt, .bin) to safetensors, without running what the pickle holds.

usage: pth_to_safetensors.py IN.pth OUT.safetensors [--key model]
"""
import argparse
import re
import sys


def name_today(name):
    """Without DistributedDataParallel's prefix; torchvision's DenseNet files say norm.1 for what is norm1."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name.removeprefix("module."))


def tensors_of(checkpoint, key):
    """The dictionary of tensors inside: under `key`, or the usual names, or the checkpoint itself."""
    import torch

    keys = [key] if key else ["model", "state_dict", "model_state_dict", "module"]
    for name in keys:
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(name), dict):
            checkpoint = checkpoint[name]
            break
    else:
        if key:
            raise SystemExit(f"pth_to_safetensors: no dictionary under '{key}'; it holds {', '.join(map(str, checkpoint))}")
    found = {name: value for name, value in checkpoint.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise SystemExit(f"pth_to_safetensors: no tensors found; name their dictionary: --key one of {', '.join(map(str, checkpoint))}")
    left = sorted(set(map(str, checkpoint)) - set(found))
    if left:
        print(f"left out, as they are no tensors: {', '.join(left)}", file=sys.stderr)
    # safetensors stores no shared memory twice.
    return {name_today(name): value.detach().cpu().contiguous().clone() for name, value in found.items()}


class Inert:
    """Stands for whatever else a checkpoint holds (fairseq: its config, its task, its dictionaries): takes any state, does nothing."""

    def __init__(self, *arguments, **named):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass


def load(path):
    """The checkpoint, no code of which is run: tensors and plain containers are built, any other class becomes Inert."""
    import pickle
    import types

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        pass
    known = {("collections", "OrderedDict"), ("torch", "Size"), ("torch._utils", "_rebuild_tensor"),
             ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            storage = module == "torch" and name.endswith("Storage")
            dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
            return super().find_class(module, name) if (module, name) in known or storage or dtype else Inert

    def read(file, **options):
        return Unpickler(file, **options).load()

    tame = types.SimpleNamespace(__name__="tame", Unpickler=Unpickler, load=read, UnpicklingError=pickle.UnpicklingError)
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=tame)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--key", help="the entry that holds the tensors; model or state_dict by default")
    options = parser.parse_args()
    try:
        import torch  # noqa: F401: what load() needs
        from safetensors.torch import save_file
    except ImportError as missing:
        raise SystemExit(f"pth_to_safetensors: {missing}; .venv/bin/pip install safetensors, and run this by .venv/bin/python")

    try:
        checkpoint = load(options.source)
    except FileNotFoundError:
        raise SystemExit(f"pth_to_safetensors: {options.source}: no such file")
    except Exception as error:
        raise SystemExit(
            f"pth_to_safetensors: {options.source}: {str(error).splitlines()[0]}; it holds more than tensors, or is no checkpoint")
    tensors = tensors_of(checkpoint, options.key)
    save_file(tensors, options.target, metadata={"format": "pt"})
    print(f"{options.target}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} numbers")


if __name__ == "__main__":
    main()
