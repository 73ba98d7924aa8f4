"""Choose the family of a `config.json` and convert it: `from_hugging_face`, `from_hugging_face_file`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.arch.hugging_face import attention, defaults, hybrid, latent
from workbench.arch.hugging_face.config import Config, shown
from workbench.arch.hugging_face.parts import NOTHING
from workbench.arch.hugging_face.remarks import remark
from workbench.arch.reading import naming, read_json
from workbench.arch.sizes import ModelSizes, SizesError
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

Family = tuple[Callable[[Config], attention.Found], defaults.Defaults]

# model_type: how it is read, and what its files may leave out.
FAMILIES: Mapping[str, Family] = {
    "bamba": (hybrid.bamba, defaults.BAMBA),
    "deepseek_v2": (latent.deepseek, defaults.DEEPSEEK_V2),
    "deepseek_v3": (latent.deepseek, defaults.DEEPSEEK_V3),
    "deepseek_v32": (latent.deepseek_v32, defaults.DEEPSEEK_V32),
    "gpt_oss": (attention.gpt_oss, defaults.GPT_OSS),
    "granitemoehybrid": (hybrid.granite, defaults.GRANITE),
    "jamba": (hybrid.jamba, defaults.JAMBA),
    "kimi_k2": (latent.deepseek, defaults.DEEPSEEK_V3),
    "llama": (attention.llama, defaults.LLAMA),
    "mamba2": (hybrid.mamba2, defaults.MAMBA2),
    "mistral": (attention.llama, defaults.MISTRAL),
    "mixtral": (attention.mixtral, defaults.MIXTRAL),
    "nemotron_h": (hybrid.nemotron_h, defaults.NEMOTRON_H),
    "qwen2": (attention.qwen2, defaults.QWEN2),
    "qwen3": (attention.qwen3, defaults.QWEN3),
    "qwen3_5": (hybrid.qwen3_next, defaults.QWEN3_5),
    "qwen3_5_moe": (hybrid.qwen3_next, defaults.QWEN3_5_MOE),
    "qwen3_5_moe_text": (hybrid.qwen3_next, defaults.QWEN3_5_MOE),
    "qwen3_5_text": (hybrid.qwen3_next, defaults.QWEN3_5),
    "qwen3_moe": (attention.qwen3_moe, defaults.QWEN3_MOE),
    "qwen3_next": (hybrid.qwen3_next, defaults.QWEN3_NEXT),
}


@dataclass(frozen=True)
class Converted:
    """A configuration as a pattern and sizes, and a sentence for everything that has no place in them."""

    pattern: Pattern
    sizes: ModelSizes
    caveats: tuple[str, ...]


def from_hugging_face(config: Mapping[str, Any], *, source: str = "config.json") -> Converted:
    """The pattern and sizes of a configuration; of its `text_config` where it has one.

    `source` is what errors call it. Raises `WorkbenchError` naming the field that is missing, of the wrong type, or says
    something that Megatron Core cannot build, and for a `model_type` that is not supported.
    """
    if not isinstance(config, Mapping):
        raise WorkbenchError(f"{source}: a configuration must be an object, not {shown(config)}")
    caveats = []
    data = config
    if config.get("text_config") is not None:
        data = Config(config, {}, source).mapping("text_config")
        # The whole model's word on tied embeddings goes before its part's.
        data = {"model_type": config.get("model_type")} | dict(data)
        if "tie_word_embeddings" in config:
            data["tie_word_embeddings"] = config["tie_word_embeddings"]
        caveats.append("Only the text part is converted.")
    convert, family_defaults = _family(data, source)
    reader = Config(data, family_defaults, source)
    text, found = convert(reader)
    remark(reader)
    try:
        sizes = ModelSizes.from_mapping(NOTHING | found)
    except SizesError as error:
        raise WorkbenchError(f"{source}: {error}") from error
    return Converted(Pattern(text), sizes, (*caveats, *reader.caveats))


def from_hugging_face_file(path: str | Path) -> Converted:
    """The same from a file, or from a folder that holds a `config.json`; the errors name the file."""
    path = Path(path)
    if path.is_dir():
        path = path / "config.json"
    with naming(path):
        data = read_json(path)
    return from_hugging_face(data, source=str(path))


def _family(data: Mapping[str, Any], source: str) -> Family:
    name = data.get("model_type")
    known = ", ".join(FAMILIES)
    if name is None:
        raise WorkbenchError(f"{source}: model_type is missing; it must be one of {known}")
    if not isinstance(name, str) or name not in FAMILIES:
        raise WorkbenchError(f"{source}: model_type {shown(name)} is not supported; it must be one of {known}")
    return FAMILIES[name]
