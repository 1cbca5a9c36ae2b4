"""The page of the mesh's settings says of each field what the decoder's shape says."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from weft.api.mesh_config import MeshConfig
from weft.api.shape import ACTED_ON

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "mesh-config.md"
RULE = "| --- | --- |\n"


def rows() -> str:
    return "".join(_row(each) for each in msgspec.structs.fields(MeshConfig))


def _row(field: msgspec.structs.FieldInfo) -> str:
    meta = _meta(field.type)
    about = str(meta.description).replace("|", "\\|")
    told = "" if (meta.extra or {}).get(ACTED_ON) is not False else "accepted, told of, not acted on. "
    return f"| `{field.encode_name}` | {told}{about} |\n"


def _meta(annotation: Any) -> msgspec.Meta:
    return next(each for each in annotation.__metadata__ if isinstance(each, msgspec.Meta))


def test_the_page_lists_every_field_with_what_is_done_about_it() -> None:
    listed = PAGE.read_text().partition(RULE)[2]
    assert listed == rows(), "run: python tests/install/test_mesh_config_page.py"


if __name__ == "__main__":
    PAGE.write_text("".join(PAGE.read_text().partition(RULE)[:2]) + rows())
    sys.stdout.write(f"{PAGE}\n")
