"""MAE as its official code computes it, in plain PyTorch on timm's blocks: every patch is embedded before masking, decoder and head
run over every token, and the target of every patch is normalised before the mask picks what counts. A peer of compare_step.py."""
import torch
from timm.models.vision_transformer import Block, PatchEmbed


class PlainMAE(torch.nn.Module):
    def __init__(self, img, patch, dim, depth, heads, decoder_dim, decoder_depth, decoder_heads, ratio=0.75):
        super().__init__()
        self.patch, self.ratio = patch, ratio
        self.patch_embed = PatchEmbed(img, patch, 3, dim)
        count = self.patch_embed.num_patches
        norm = {"norm_layer": torch.nn.LayerNorm, "qkv_bias": True}
        self.cls_token = torch.nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = torch.nn.Parameter(torch.randn(1, count + 1, dim) * 0.02, requires_grad=False)
        self.blocks = torch.nn.ModuleList(Block(dim, heads, **norm) for _ in range(depth))
        self.norm = torch.nn.LayerNorm(dim)
        self.decoder_embed = torch.nn.Linear(dim, decoder_dim)
        self.mask_token = torch.nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder_pos_embed = torch.nn.Parameter(torch.randn(1, count + 1, decoder_dim) * 0.02, requires_grad=False)
        self.decoder_blocks = torch.nn.ModuleList(Block(decoder_dim, decoder_heads, **norm) for _ in range(decoder_depth))
        self.decoder_norm = torch.nn.LayerNorm(decoder_dim)
        self.decoder_pred = torch.nn.Linear(decoder_dim, patch * patch * 3)

    def target(self, images):
        batch, channels, height, width = images.shape
        p = self.patch
        cut = images.reshape(batch, channels, height // p, p, width // p, p)
        patches = cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, p * p * channels)
        return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()

    def forward(self, images):
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        batch, count, dim = x.shape
        kept = int(count * (1 - self.ratio))
        order = torch.rand(batch, count, device=x.device).argsort(1)
        restore = order.argsort(1)
        x = x.gather(1, order[:, :kept, None].expand(-1, -1, dim))
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        x = self.decoder_embed(self.norm(x))
        filled = torch.cat([x[:, 1:], self.mask_token.to(x.dtype).expand(batch, count - kept, -1)], 1)
        filled = filled.gather(1, restore[..., None].expand(-1, -1, filled.shape[2]))
        x = torch.cat([x[:, :1], filled], 1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        predicted = self.decoder_pred(self.decoder_norm(x))[:, 1:]
        error = ((predicted - self.target(images)) ** 2).mean(-1)
        hidden = (restore >= kept).to(error.dtype)
        return (error * hidden).sum() / hidden.sum()
