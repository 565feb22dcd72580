#!/usr/bin/env python3
"""tools/pth_to_safetensors.py on checkpoints as the papers' repositories save them, and on one that must not be run.

usage: convert_test.py PROGRAM   (exit 77: safetensors is not installed here)
"""
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import torch
    from safetensors.torch import load_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/pth_to_safetensors.py"
PROGRAM = sys.argv.pop(1)


def convert(source, target, *options):
    """In this process: importing torch anew takes seconds. -> exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out, err, code = io.StringIO(), io.StringIO(), 0
    arguments, sys.argv = sys.argv, [str(TOOL), str(source), str(target), *options]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            tool.main()
        except SystemExit as end:  # a message is printed by Python, with exit code 1
            code = 1 if isinstance(end.code, str) else end.code or 0
            print(end.code if isinstance(end.code, str) else "", file=err)
        finally:
            sys.argv = arguments
    return subprocess.CompletedProcess([], code, out.getvalue(), err.getvalue())


class Touch:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Convert(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.source, self.target = self.folder / "in.pth", self.folder / "out.safetensors"

    def mae(self):
        """An encoder as facebookresearch/mae names it: 64 wide, one block, patches of 8 on 16 x 16 pixels."""
        torch.manual_seed(0)
        shapes = {"cls_token": (1, 1, 64), "pos_embed": (1, 5, 64), "patch_embed.proj.weight": (64, 3, 8, 8),
                  "patch_embed.proj.bias": (64,), "norm.weight": (64,), "norm.bias": (64,)}
        block = {"norm1.weight": (64,), "norm1.bias": (64,), "attn.qkv.weight": (192, 64), "attn.qkv.bias": (192,),
                 "attn.proj.weight": (64, 64), "attn.proj.bias": (64,), "norm2.weight": (64,), "norm2.bias": (64,),
                 "mlp.fc1.weight": (256, 64), "mlp.fc1.bias": (256,), "mlp.fc2.weight": (64, 256), "mlp.fc2.bias": (64,)}
        shapes |= {f"blocks.0.{name}": shape for name, shape in block.items()}
        return {name: torch.randn(shape) for name, shape in shapes.items()}

    def test_a_training_checkpoint_becomes_its_tensors(self):
        weights = self.mae()
        torch.save({"model": weights, "optimizer": {"state": {}}, "epoch": 3}, self.source)
        done = convert(self.source, self.target)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("18 tensors", done.stdout)
        written = load_file(self.target)
        self.assertEqual(written.keys(), weights.keys())
        for name, tensor in weights.items():
            self.assertTrue(torch.equal(written[name], tensor), name)
        seen = json.loads(subprocess.run([PROGRAM, "inspect", self.target, "--json"], capture_output=True, text=True, check=True).stdout)
        self.assertTrue(seen["method"].startswith("mae"), seen)
        self.assertFalse(seen["decoder"])

    def test_bare_prefixed_and_shared_tensors(self):
        shared = torch.arange(6.0).view(2, 3)
        torch.save({"module.a": shared, "module.b": shared.t(), "note": "x"}, self.source)
        done = convert(self.source, self.target)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("left out, as they are no tensors: note", done.stderr)
        written = load_file(self.target)
        self.assertTrue(torch.equal(written["a"], shared) and torch.equal(written["b"], shared.t()))

    def test_what_else_a_checkpoint_holds_is_never_run(self):
        trap = self.folder / "trap"
        torch.save({"model": {"a": torch.ones(1), "b": Touch(trap)}, "args": Touch(trap)}, self.source)
        done = convert(self.source, self.target)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(trap.exists(), "the pickle was run")
        self.assertEqual(list(load_file(self.target)), ["a"])
        self.assertIn("left out, as they are no tensors: b", done.stderr)

    def test_what_is_no_checkpoint_ends_in_one_line(self):
        not_torch = self.folder / "text.pth"
        not_torch.write_text("hello")
        torch.save({"ema": {"a": torch.ones(1)}}, self.folder / "ema.pth")
        for source, options, reason in ((not_torch, (), "is no checkpoint"),
                                        (self.folder / "none.pth", (), "no such file"),
                                        (self.folder / "ema.pth", ("--key", "model"), "no dictionary under 'model'; it holds ema"),
                                        (self.folder / "ema.pth", (), "--key one of ema")):
            done = convert(source, self.target, *options)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(reason, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertFalse(self.target.exists())
        self.assertEqual(convert(self.folder / "ema.pth", self.target, "--key", "ema").returncode, 0)


if __name__ == "__main__":
    unittest.main()
