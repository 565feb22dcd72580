"""The module from PyTorch's side: a loop with only a masker, one with only a loader, one with a whole method."""

import tempfile
import unittest

import torch
from torch import nn

import lacuna

TINY = {
    "encoder.arch": "vit",
    "encoder.img_size": 32,
    "encoder.patch_size": 8,
    "encoder.embed_dim": 32,
    "encoder.depth": 1,
    "encoder.num_heads": 2,
    "decoder.embed_dim": 16,
    "decoder.depth": 1,
    "decoder.num_heads": 2,
}


def train(parameters, losses, lr=1e-2):
    """One AdamW step for each loss; the mean of the first and of the last five."""
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    values = []
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return sum(values[:5]) / 5, sum(values[-5:]) / 5


class Configs(unittest.TestCase):
    def test_keys_are_set_read_and_written(self):
        config = lacuna.Config("mae", {"encoder.img_size": (64, 128), "mask.ratio": 0.5})
        config["encoder.depth"] = 3
        config.set("train.betas=[0.9, 0.99]")
        self.assertEqual(config["encoder.img_size"], [64, 128])
        self.assertEqual(config.to_dict()["train"]["betas"], [0.9, 0.99])
        again = lacuna.Config.from_toml(config.to_toml())
        self.assertEqual(again.to_dict(), config.to_dict())
        self.assertEqual(again.method, "mae")

    def test_mistakes_are_errors_that_name_the_remedy(self):
        with self.assertRaisesRegex(lacuna.Error, "did you mean 'encoder.depth'"):
            lacuna.Config("mae", {"encoder.dpeth": 3})
        with self.assertRaisesRegex(ValueError, "expected a whole number"):
            lacuna.Config("mae")["encoder.depth"] = "many"
        with self.assertRaisesRegex(lacuna.Error, "did you mean 'mae'"):
            lacuna.info("mee")

    def test_info_lists_every_key(self):
        info = lacuna.info("mae")
        keys = {key["key"]: key for key in info["config"]}
        self.assertIn("mae", lacuna.methods())
        self.assertEqual(keys["mask.ratio"]["default"], 0.75)
        self.assertIn("2111.06377", info["paper"])


class Maskers(unittest.TestCase):
    def test_masks_are_a_function_of_seed_and_sample(self):
        mask = lacuna.random_mask(6, 16, ratio=0.75, seed=3)
        self.assertEqual(mask.is_hidden.sum(1).tolist(), [12] * 6)
        self.assertEqual(mask.kept.shape, (6, 4))
        self.assertTrue(torch.equal(mask.order.gather(1, mask.restore), torch.arange(16).expand(6, 16)))
        again = lacuna.random_mask(2, 16, ratio=0.75, seed=3, sample=[5, 1])
        self.assertTrue(torch.equal(again.order, mask.order[[5, 1]]))
        self.assertFalse(torch.equal(mask.order, lacuna.random_mask(6, 16, seed=4).order))

    def test_block_masks_hide_whole_cells(self):
        mask = lacuna.block_mask(3, (32, 64), 4, cell=8, ratio=0.6, seed=3)
        self.assertEqual((mask.shape, mask.dtype), ((3, 8, 16), torch.bool))
        cells = mask.view(3, 4, 2, 8, 2).float().mean((2, 4))
        self.assertTrue(((cells == 0) | (cells == 1)).all())
        self.assertEqual(cells.sum((1, 2)).tolist(), [20] * 3)  # 32 cells, 60 % rounded up
        self.assertTrue(torch.equal(lacuna.block_mask(1, (32, 64), 4, cell=8, seed=3, sample=[2])[0], mask[2]))
        with self.assertRaisesRegex(lacuna.Error, "does not divide the picture"):
            lacuna.block_mask(1, 32, 4, cell=20)

    def test_span_masks_hide_spans_of_valid_frames(self):
        mask = lacuna.span_mask([100, 60], prob=0.5, length=10, require_same=False)
        self.assertEqual(mask.shape, (2, 100))
        self.assertFalse(mask[1, 60:].any())
        starts = mask[0].int().diff(prepend=torch.zeros(1, dtype=torch.int)).eq(1).sum().item()
        self.assertGreaterEqual(mask[0].sum().item(), 10 * min(starts, 2))
        with self.assertRaisesRegex(lacuna.Error, "lengths >= 1"):
            lacuna.span_mask([])

    def test_a_pytorch_loop_that_uses_only_the_masker(self):
        torch.manual_seed(0)
        steps, patches, width = 80, 16, 8
        # Every patch repeats its neighbour's values, so that what is hidden can be told from what is seen.
        data = torch.randn(64, patches // 2, width).repeat_interleave(2, 1)
        network = nn.Sequential(nn.Linear(patches * width, 256), nn.ReLU(), nn.Linear(256, patches * width))

        def losses():
            for step in range(steps):
                hidden = lacuna.random_mask(64, patches, ratio=0.25, sample=list(range(64 * step, 64 * step + 64))).is_hidden
                guess = network((data * ~hidden[..., None]).flatten(1)).view_as(data)
                yield nn.functional.mse_loss(guess[hidden], data[hidden])

        first, last = train(network.parameters(), losses(), lr=3e-3)
        self.assertLess(last, 0.5 * first)


class Data(unittest.TestCase):
    def test_records_are_torch_tensors(self):
        data = lacuna.open_dataset("synthetic:scenes?count=20&size=24x32")
        self.assertEqual(len(data), 20)
        image, label, key = data[3]
        self.assertEqual((image.shape, image.dtype), ((3, 24, 32), torch.uint8))
        self.assertEqual(label, data.label(3))
        self.assertIn("#3", key)
        self.assertTrue(torch.equal(data[-17][0], image))
        self.assertEqual(len(data.classes), 10)
        self.assertEqual(sum(1 for _ in data), 20)
        with self.assertRaises(IndexError):
            data[20]
        self.assertEqual(lacuna.inspect(data)["count"], 20)
        with self.assertRaisesRegex(lacuna.Error, "did you mean 'synthetic'"):
            lacuna.open_dataset("synthetik:scenes")

    def test_epochs_are_whole_and_resume(self):
        data = lacuna.open_dataset("synthetic:scenes?count=20&size=32")
        loader = lacuna.Loader(data, 16, batch_size=6, seed=1, workers=2)
        self.assertEqual(len(loader), 3)
        epochs = [list(loader), list(loader)]
        self.assertEqual([len(epoch) for epoch in epochs], [3, 3])
        self.assertEqual(epochs[0][0].image.shape, (6, 3, 16, 16))
        self.assertEqual(epochs[1][0].sample, list(range(18, 24)))
        self.assertEqual(loader.position, (2, 0))
        loader.position = (1, 2)
        self.assertTrue(torch.equal(next(loader).image, epochs[1][2].image))
        whole = lacuna.Loader(data, 16, batch_size=6, shuffle=False, drop_last=False, evaluate=True)
        self.assertEqual(sum(len(batch) for batch in whole), 20)
        self.assertLess(torch.cat([batch.image for batch in whole]).mean().abs(), 0.2)  # normalised as measured

    def test_a_pytorch_loop_that_uses_only_the_loader(self):
        torch.manual_seed(0)
        loader = lacuna.Loader("synthetic:scenes?count=128&size=32", 16, 32, augment={"crop": "resize", "flip": 0})
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 64), nn.ReLU(), nn.Linear(64, 10))
        losses = (nn.functional.cross_entropy(network(image), label) for _ in range(12) for image, label in loader)
        first, last = train(network.parameters(), losses)
        self.assertLess(last, 0.5 * first)


class Methods(unittest.TestCase):
    def test_forward_is_a_function_of_seed(self):
        method = lacuna.build("mae", TINY)
        named = dict(method.named_parameters())
        self.assertEqual(len(named), len(method.parameters()))
        self.assertNotIn("pos_embed", named)  # a fixed table
        self.assertEqual(method.input, (3, 32, 32))
        image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        loss = method.forward(image, seed=1).total
        self.assertEqual(loss.item(), method.forward(lacuna.Batch(image), seed=1).total.item())
        self.assertNotEqual(loss.item(), method.forward(image, seed=2).total.item())
        self.assertEqual(method.features(image).shape, (4, 32))
        twin = lacuna.build(lacuna.Config("mae", TINY))
        for name, tensor in method.state_dict().items():
            self.assertTrue(torch.equal(tensor, twin.state_dict()[name]), name)

    def test_weights_are_shared_loaded_and_checked(self):
        method = lacuna.build("mae", TINY)
        weights = method.state_dict()
        self.assertIn("blocks.0.attn.qkv.weight", weights)
        weights["mask_token"].data.fill_(2)
        self.assertTrue((method.state_dict()["mask_token"] == 2).all())
        other = lacuna.build("mae", TINY | {"train.seed": 1})
        self.assertEqual(other.load_state_dict(weights), [])
        self.assertTrue(torch.equal(other.state_dict()["blocks.0.mlp.fc1.weight"], weights["blocks.0.mlp.fc1.weight"]))
        del weights["norm.bias"]
        with self.assertRaisesRegex(lacuna.Error, "1 missing"):
            other.load_state_dict(weights)
        with tempfile.TemporaryFile() as file:  # plain tensors: torch saves and loads them
            torch.save(method.state_dict(), file)
            file.seek(0)
            other.load_state_dict(torch.load(file))

    def test_a_method_trains_with_torch_optim(self):
        method = lacuna.build("mae", TINY)
        loader = lacuna.Loader(lacuna.open_dataset("synthetic:scenes?count=128&size=32"), 32, 32)
        method.train()
        losses = (method.forward(batch, seed=7).total for _ in range(10) for batch in loader)
        first, last = train(method.parameters(), losses)
        self.assertLess(last, 0.9 * first)


if __name__ == "__main__":
    unittest.main()
