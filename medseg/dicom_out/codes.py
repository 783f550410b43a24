"""What a structure is in SNOMED CT, from the manifest's code or from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

ORGANS: Mapping[str, str] = {
    "liver": "Liver",
    "kidney": "Kidney",
    "spleen": "Spleen",
    "pancreas": "Pancreas",
    "gallbladder": "Gallbladder",
    "stomach": "Stomach",
    "duodenum": "Duodenum",
    "small intestine": "SmallIntestine",
    "small bowel": "SmallIntestine",
    "large intestine": "LargeIntestine",
    "colon": "Colon",
    "rectum": "Rectum",
    "adrenal gland": "AdrenalGland",
    "adrenal": "AdrenalGland",
    "bladder": "Bladder",
    "prostate": "Prostate",
    "uterus": "Uterus",
    "ovary": "Ovary",
    "testis": "Testis",
    "breast": "Breast",
    "esophagus": "Esophagus",
    "trachea": "Trachea",
    "thymus": "Thymus",
    "lung": "Lung",
    "heart": "Heart",
    "left atrium": "LeftAtrium",
    "left ventricle": "LeftVentricle",
    "right ventricle": "RightVentricle",
    "aorta": "Aorta",
    "inferior vena cava": "InferiorVenaCava",
    "portal vein": "PortalVein",
    "splenic vein": "SplenicVein",
    "artery": "Artery",
    "vein": "Vein",
    "vessel": "BloodVessel",
    "brain": "Brain",
    "hippocampus": "Hippocampus",
    "thalamus": "Thalamus",
    "caudate": "CaudateNucleus",
    "putamen": "Putamen",
    "cerebellum": "Cerebellum",
    "brain stem": "BrainStem",
    "brainstem": "BrainStem",
    "spinal cord": "SpinalCord",
    "optic nerve": "OpticNerve",
    "eye": "Eye",
    "parotid": "ParotidGland",
    "skull": "Skull",
    "mandible": "Mandible",
    "spine": "Spine",
    "vertebra": "Vertebra",
    "vertebrae": "Vertebra",
    "rib": "Rib",
    "clavicle": "Clavicle",
    "scapula": "Scapula",
    "humerus": "Humerus",
    "femur": "Femur",
    "sacrum": "Sacrum",
    "bone": "Bone",
    "cartilage": "Cartilage",
    "muscle": "Muscle",
    "fat": "AdiposeTissue",
    "skin": "Skin",
    "lymph node": "LymphNode",
}
"""Words of a name to the keyword of the structure in pydicom's table of SNOMED CT codes."""

LESIONS: Mapping[str, str] = {
    "tumor": "Neoplasm",
    "cancer": "Neoplasm",
    "neoplasm": "Neoplasm",
    "mass": "Mass",
    "cyst": "Cyst",
    "lesion": "Lesion",
    "nodule": "Nodule",
    "edema": "Edema",
    "necrosis": "Necrosis",
    "hemorrhage": "Hemorrhage",
    "stroke": "Stroke",
    "pleural effusion": "PleuralEffusion",
}

SPELLINGS: Mapping[str, str] = {
    "tumour": "tumor",
    "oedema": "edema",
    "haemorrhage": "hemorrhage",
    "oesophagus": "esophagus",
}

SIDES: Mapping[str, Code] = {"left": codes.SCT.Left, "right": codes.SCT.Right}

ANATOMICAL: Code = codes.SCT.AnatomicalStructure
ABNORMAL: Code = codes.SCT.MorphologicallyAbnormalStructure
TISSUE: Code = codes.SCT.Tissue

LONGEST_MEANING = 64
"""Characters of a Long String (LO), the type of CodeMeaning and of most descriptions."""


@dataclass(frozen=True, kw_only=True)
class StructureCode:
    """How one structure is coded."""

    category: Code
    """Segmented property category (CID 7150)."""
    type: Code
    """Segmented property type (CID 7151)."""
    side: Code | None = None
    region: Code | None = None
    """Organ in which an abnormal structure lies, where its name says so."""
    known: bool = True
    """False where neither the manifest nor the table has a code: it is coded as Tissue."""


def code_structure(name: str, snomed: str | None) -> StructureCode:
    """Code a structure.

    Parameters
    ----------
    name : str
        Its name in the label table, such as ``kidney_left`` or ``liver tumour``.
    snomed : str or None
        Its SNOMED CT code in the label table, which goes before what the name says.

    Returns
    -------
    StructureCode
        Without a code and with a name that is in no table: Tissue, the general property that
        viewers show by the segment's label.

    Examples
    --------
    >>> found = code_structure("kidney_left", None)
    >>> found.type.meaning, found.side.meaning, found.category.meaning
    ('Kidney', 'Left', 'Anatomical Structure')
    >>> found = code_structure("liver tumour", None)
    >>> found.type.meaning, found.region.meaning
    ('Neoplasm', 'Liver')
    """
    words = _words(name)
    lesion, words = _take(words, LESIONS)
    organ, words = _take(words, ORGANS)
    side = next((SIDES[word] for word in words if word in SIDES), None)
    given = _given(name, snomed)
    found = lesion or organ
    abnormal = _is_lesion(given) if given is not None and _in_tables(given) else lesion is not None
    if given is None and found is None:
        return StructureCode(category=TISSUE, type=TISSUE, side=side, known=False)
    code = given or found
    assert code is not None
    sideless = given is None or _in_tables(given)  # a code of its own may name the side already
    return StructureCode(
        category=ABNORMAL if abnormal else ANATOMICAL,
        type=code,
        side=side if sideless else None,
        region=organ if abnormal else None,
    )


def _words(name: str) -> list[str]:
    """Split a name into lower-case words of American spelling, plurals as singulars."""
    known = {**ORGANS, **LESIONS}
    words = []
    for word in re.findall(r"[a-z]+", name.lower()):
        forms = (word, word.removesuffix("s"))
        spelled = [SPELLINGS.get(form, form) for form in forms]
        words.append(next((form for form in spelled if form in known), word))
    return words


def _take(words: Sequence[str], table: Mapping[str, str]) -> tuple[Code | None, list[str]]:
    """Find the longest entry of a table among the words; return it and the words left."""
    for key in sorted(table, key=lambda key: -len(key)):
        parts = key.split()
        for start in range(len(words) - len(parts) + 1):
            if list(words[start : start + len(parts)]) == parts:
                rest = [*words[:start], *words[start + len(parts) :]]
                return _code(table[key]), rest
    return None, list(words)


def _code(keyword: str) -> Code:
    code: Code = getattr(codes.SCT, keyword)
    return code


def _given(name: str, snomed: str | None) -> Code | None:
    """Return the manifest's code, with the table's words for it where it has some."""
    if not snomed:
        return None
    for keyword in (*LESIONS.values(), *ORGANS.values()):
        if _code(keyword).value == snomed:
            return _code(keyword)
    return Code(str(snomed), "SCT", name[:LONGEST_MEANING])


def _in_tables(code: Code) -> bool:
    return any(_code(k).value == code.value for k in (*LESIONS.values(), *ORGANS.values()))


def _is_lesion(code: Code) -> bool:
    return any(_code(keyword).value == code.value for keyword in LESIONS.values())
