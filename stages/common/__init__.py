"""What every room stands on: configuration and manifests, files, hashes, devices, errors. Knows no stage.

Its names are imported from here: ``from stages.common import Config, UserError``.
"""

from __future__ import annotations

from stages.common.ahead import ahead
from stages.common.config import DOES_NOT_COUNT, LOCAL_DIR, Config, Location, Manifest, ModelLocation, identity
from stages.common.copies import local_copy, local_path, told_as
from stages.common.devices import (
    AskedPrecision,
    Device,
    Precision,
    autocast,
    device_class,
    dtype_of,
    has_bf16,
    limit_threads,
    resolve_device,
    resolve_precision,
    slowness_warning,
)
from stages.common.errors import LockError, OtherFormatError, RayLostError, SampleError, UnreachableError, UserError
from stages.common.files import Folder, find_files, join, knows_protocol, open_file, read_file, read_json, version_of
from stages.common.hashing import canonical_json, digest, sha256_hex
from stages.common.interrupts import processes_without_ctrl_c
from stages.common.manifests import load, read_settings, validate
from stages.common.model_files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    hash_files,
    read_model_json,
    resolve_folder,
    sha256_file,
    transformers_files,
)
from stages.common.progress import Progress, silent
from stages.common.records import (
    CaptionNouns,
    DroppedNoun,
    ImageRecord,
    Match,
    Mention,
    Noun,
    Proposal,
    QuarantineRow,
    Rle,
    SourceMask,
    merge_mentions,
)
from stages.common.storage import NOT_TO_BE_HAD, WEB, StorageError, retried
from stages.common.tensors import load_safetensors, read_tensor_file, tensor_names
from stages.common.texts import (
    Name,
    PlainText,
    clean_name,
    clean_text,
    escaped,
    plain_text,
    some,
    wide_encoding,
)

__all__ = [
    "CONFIG",
    "DOES_NOT_COUNT",
    "LOCAL_DIR",
    "NOT_TO_BE_HAD",
    "TOKENIZER",
    "WEB",
    "WEIGHTS",
    "AskedPrecision",
    "CaptionNouns",
    "Config",
    "Device",
    "DroppedNoun",
    "Folder",
    "ImageRecord",
    "Location",
    "LockError",
    "Manifest",
    "Match",
    "Mention",
    "ModelLocation",
    "Name",
    "Noun",
    "OtherFormatError",
    "PlainText",
    "Precision",
    "Progress",
    "Proposal",
    "QuarantineRow",
    "RayLostError",
    "Rle",
    "SampleError",
    "SourceMask",
    "StorageError",
    "UnreachableError",
    "UserError",
    "ahead",
    "autocast",
    "canonical_json",
    "clean_name",
    "clean_text",
    "device_class",
    "digest",
    "dtype_of",
    "escaped",
    "find_files",
    "has_bf16",
    "hash_files",
    "identity",
    "join",
    "knows_protocol",
    "limit_threads",
    "load",
    "load_safetensors",
    "local_copy",
    "local_path",
    "merge_mentions",
    "open_file",
    "plain_text",
    "processes_without_ctrl_c",
    "read_file",
    "read_json",
    "read_model_json",
    "read_settings",
    "read_tensor_file",
    "resolve_device",
    "resolve_folder",
    "resolve_precision",
    "retried",
    "sha256_file",
    "sha256_hex",
    "silent",
    "slowness_warning",
    "some",
    "tensor_names",
    "told_as",
    "transformers_files",
    "validate",
    "version_of",
    "wide_encoding",
]
