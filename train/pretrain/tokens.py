"""A small byte-level BPE tokenizer in the format that open_clip loads from a model's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

START, END, PAD = "<start>", "<end>", "<pad>"


def write_tokenizer(captions: Sequence[str], vocab_size: int, folder: Path) -> None:
    """Trains a tokenizer and writes tokenizer.json and tokenizer_config.json.

    Lower case, byte-level BPE: any text has tokens. <pad> is 0, and <end> has the highest number, so that
    open_clip's text tower finds it by argmax, as in OpenAI's CLIP.

    Args:
        captions: text to learn from.
        vocab_size: tokens at most; the tokenizer has exactly as many where the text is rich enough.
        folder: made if need be.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, special_tokens=[PAD, START], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.add_special_tokens([END])
    ids = {token: tokenizer.token_to_id(token) for token in (START, END)}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    folder.mkdir(parents=True, exist_ok=True)
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=END
    )
    wrapped.save_pretrained(str(folder))
