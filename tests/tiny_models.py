"""Tiny models of every kind of mask proposal, with random weights of a fixed seed, saved as transformers saves them.

Their masks mean nothing; their files, inputs and outputs have the form of the published ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SEED = 0
MASK_GAIN = 60.0
NUM_QUERIES = 5
CLASS_NAMES = {0: "cat", 1: "dog", 2: "grass"}
# The shorter and the longer side that photos are resized to.
SIZE = {"shortest_edge": 64, "longest_edge": 96}


def _swin() -> Any:  # noqa: ANN401
    from transformers import SwinConfig

    make: Any = SwinConfig
    return make(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def _save(model_class: Any, config: Any, processor: Any, folder: Path) -> Path:  # noqa: ANN401
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = model_class(config).eval()
    if hasattr(model, "mask_decoder"):
        # SAM2 and later take the sigmoid of this, SAM and SAM-HQ the value itself: all predict about 0.95.
        _liven_up(model.mask_decoder, 0.95 if config.model_type in ("sam", "sam_hq") else 3.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _liven_up(mask_decoder: Any, iou_bias: float) -> None:  # noqa: ANN401
    """Gives a SAM clear masks that it is sure of: fresh weights give logits near 0, which the thresholds drop."""
    import torch

    with torch.no_grad():
        mask_decoder.iou_prediction_head.proj_out.bias.fill_(iou_bias)
        for weights in (*mask_decoder.output_hypernetworks_mlps.parameters(), mask_decoder.upscale_conv2.weight):
            weights.mul_(MASK_GAIN)


def tiny_maskformer(folder: Path, **processor: Any) -> Path:  # noqa: ANN401
    """A MaskFormer with a Swin backbone; `processor` overrides keys of its image processor, here and below."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, MaskFormerImageProcessor

    decoder = DetrConfig(
        d_model=32,
        decoder_layers=1,
        encoder_layers=1,
        decoder_ffn_dim=16,
        encoder_ffn_dim=16,
        decoder_attention_heads=2,
        encoder_attention_heads=2,
        num_queries=NUM_QUERIES,
    )
    config = MaskFormerConfig(
        backbone_config=_swin(),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        id2label=CLASS_NAMES,
    )
    return _save(
        MaskFormerForInstanceSegmentation, config, MaskFormerImageProcessor(**{"size": SIZE, **processor}), folder
    )


def tiny_mask2former(folder: Path, **processor: Any) -> Path:  # noqa: ANN401
    """A Mask2Former with a Swin backbone."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

    config = Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=NUM_QUERIES,
        id2label=CLASS_NAMES,
    )
    return _save(
        Mask2FormerForUniversalSegmentation, config, Mask2FormerImageProcessor(**{"size": SIZE, **processor}), folder
    )


def tiny_oneformer(folder: Path, **processor: Any) -> Path:  # noqa: ANN401
    """A OneFormer with a Swin backbone and a tokenizer of single characters."""
    from transformers import (
        CLIPTokenizer,
        OneFormerConfig,
        OneFormerForUniversalSegmentation,
        OneFormerImageProcessor,
    )

    config = OneFormerConfig(
        backbone_config=_swin(),
        num_queries=NUM_QUERIES,
        strides=[4, 8, 16, 32],
        text_encoder_width=16,
        text_encoder_context_length=16,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=64,
        text_encoder_proj_layers=1,
        text_encoder_n_ctx=4,
        task_seq_len=16,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        query_dec_layers=1,
        dim_feedforward=16,
        num_attention_heads=2,
        id2label=CLASS_NAMES,
    )
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[]).save_pretrained(folder)
    return _save(
        OneFormerForUniversalSegmentation, config, OneFormerImageProcessor(**{"size": SIZE, **processor}), folder
    )


def tiny_eomt(folder: Path, **processor: Any) -> Path:  # noqa: ANN401
    """An EoMT that pads to a square, as the panoptic ones; do_split_image=True, do_pad=False for a semantic one."""
    from transformers import EomtConfig, EomtForUniversalSegmentation, EomtImageProcessor

    config = EomtConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=64,
        patch_size=8,
        num_blocks=1,
        num_upscale_blocks=1,
        num_register_tokens=0,
        num_queries=NUM_QUERIES,
        id2label=CLASS_NAMES,
    )
    keys = {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True, **processor}
    return _save(EomtForUniversalSegmentation, config, EomtImageProcessor(**keys), folder)


def tiny_sam(folder: Path) -> Path:
    """A SAM of 64 px input, padded to a square."""
    from transformers import (
        SamConfig,
        SamImageProcessor,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    config = SamConfig(
        vision_config=SamVisionConfig(**_SAM_VISION),
        prompt_encoder_config=SamPromptEncoderConfig(**_SAM_PROMPT),
        mask_decoder_config=SamMaskDecoderConfig(**_SAM_DECODER),
    )
    return _save(SamModel, config, SamImageProcessor(**_SAM_PROCESSOR), folder)


def tiny_sam_hq(folder: Path) -> Path:
    """A SAM-HQ of 64 px input, padded to a square."""
    from transformers import (
        SamHQConfig,
        SamHQMaskDecoderConfig,
        SamHQModel,
        SamHQPromptEncoderConfig,
        SamHQVisionConfig,
        SamImageProcessor,
    )

    config = SamHQConfig(
        vision_config=SamHQVisionConfig(**_SAM_VISION),
        prompt_encoder_config=SamHQPromptEncoderConfig(**_SAM_PROMPT),
        mask_decoder_config=SamHQMaskDecoderConfig(**_SAM_DECODER, vit_dim=16),
    )
    return _save(SamHQModel, config, SamImageProcessor(**_SAM_PROCESSOR), folder)


_SAM_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "mlp_dim": 32,
    "window_size": 4,
    "global_attn_indexes": [1],
    "num_pos_feats": 8,
}
_SAM_PROMPT: dict[str, Any] = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
_SAM_DECODER: dict[str, Any] = {
    "hidden_size": 16,
    "mlp_dim": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
_SAM_PROCESSOR: dict[str, Any] = {
    "size": {"longest_edge": 64},
    "mask_size": {"longest_edge": 16},
    "pad_size": {"height": 64, "width": 64},
    "mask_pad_size": {"height": 16, "width": 16},
}


_SQUASHING: dict[str, Any] = {"size": {"height": 64, "width": 64}, "mask_size": {"height": 16, "width": 16}}


def tiny_sam2(folder: Path) -> Path:
    """A SAM2 of 64 px input, squashed to a square."""
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4],
        window_positional_embedding_background_size=[4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
    )
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16),
        mask_decoder_config=Sam2MaskDecoderConfig(**_SAM_DECODER, iou_head_depth=2),
    )
    return _save(Sam2Model, config, Sam2ImageProcessor(**_SQUASHING), folder)


def tiny_sam3(folder: Path) -> Path:
    """A SAM3 tracker, which answers points, of 112 px input, squashed to a square."""
    from transformers import (
        Sam3ImageProcessor,
        Sam3TrackerConfig,
        Sam3TrackerMaskDecoderConfig,
        Sam3TrackerModel,
        Sam3TrackerPromptEncoderConfig,
        Sam3VisionConfig,
        Sam3ViTConfig,
    )

    backbone = Sam3ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=112,
        patch_size=14,
        window_size=4,
        global_attn_indexes=[1],
        pretrain_image_size=112,
    )
    config = Sam3TrackerConfig(
        vision_config=Sam3VisionConfig(
            backbone_config=backbone, fpn_hidden_size=16, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
        ),
        prompt_encoder_config=Sam3TrackerPromptEncoderConfig(hidden_size=16, image_size=112, patch_size=14),
        mask_decoder_config=Sam3TrackerMaskDecoderConfig(**_SAM_DECODER, iou_head_depth=2),
    )
    processor = Sam3ImageProcessor(size={"height": 112, "width": 112}, mask_size={"height": 32, "width": 32})
    return _save(Sam3TrackerModel, config, processor, folder)


def tiny_edgetam(folder: Path) -> Path:
    """An EdgeTAM of 64 px input, squashed to a square."""
    from transformers import (
        EdgeTamConfig,
        EdgeTamMaskDecoderConfig,
        EdgeTamModel,
        EdgeTamPromptEncoderConfig,
        EdgeTamVisionConfig,
        Sam2ImageProcessor,
        TimmWrapperConfig,
    )

    backbone = TimmWrapperConfig(
        architecture="lcnet_035", model_args={"in_chans": 3, "features_only": True, "out_indices": [1, 2, 3, 4]}
    )
    vision = EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[176, 88, 48, 24],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
    )
    config = EdgeTamConfig(
        vision_config=vision,
        prompt_encoder_config=EdgeTamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16),
        mask_decoder_config=EdgeTamMaskDecoderConfig(**_SAM_DECODER, iou_head_depth=2),
    )
    return _save(EdgeTamModel, config, Sam2ImageProcessor(**_SQUASHING), folder)
