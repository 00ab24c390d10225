"""``mlfc.potential``: a checkpoint file as a node, with what the file says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.orm import QueryBuilder, SinglefileData

from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.checkpoint_header import sha256_of


class PotentialData(SinglefileData):
    """A machine-learned potential: the checkpoint file, its architecture, species, cutoff, sha256 and licence."""

    _key_architecture = 'architecture'
    _key_name = 'name'
    _key_species = 'species'
    _key_cutoff = 'cutoff'
    _key_sha256 = 'sha256'
    _key_licence = 'licence'
    _key_card = 'card'

    @classmethod
    def from_file(cls, name_or_path: str | Path) -> PotentialData:
        """A new, unstored node from a shipped or published name, or a checkpoint file.

        :raises ~aiida_mlfc.core.checkpoint_header.CheckpointError: if there is no such potential.
        """
        path = resolve(name_or_path)
        header = read_header(path)
        # AiiDA takes no relative path.
        node = cls(file=path.absolute(), filename=path.name)
        node.base.attributes.set_many(
            {
                cls._key_architecture: header.architecture,
                cls._key_name: header.card.get('name', path.stem),
                cls._key_species: header.species,
                cls._key_cutoff: header.cutoff,
                cls._key_sha256: sha256_of(path),
                cls._key_licence: header.card.get('licence', 'not stated'),
                cls._key_card: header.card,
            }
        )
        node.label = header.card.get('name', path.stem)
        return node

    @classmethod
    def get_or_create(cls, name_or_path: str | Path) -> PotentialData:
        """The stored node of this very file (by sha256), made if there is none."""
        digest = sha256_of(resolve(name_or_path))
        query = QueryBuilder().append(cls, filters={f'attributes.{cls._key_sha256}': digest})
        found = query.first(flat=True)
        return found if found is not None else cls.from_file(name_or_path).store()

    @property
    def architecture(self) -> str:
        """``dx`` or ``mattersim``."""
        return self.base.attributes.get(self._key_architecture)

    @property
    def name(self) -> str:
        """Name on the card."""
        return self.base.attributes.get(self._key_name)

    @property
    def species(self) -> list[int]:
        """Atomic numbers the potential knows."""
        return self.base.attributes.get(self._key_species)

    @property
    def cutoff(self) -> float:
        """Å."""
        return self.base.attributes.get(self._key_cutoff)

    @property
    def sha256(self) -> str:
        """Of the checkpoint file."""
        return self.base.attributes.get(self._key_sha256)

    @property
    def card(self) -> dict[str, Any]:
        """The model card."""
        return self.base.attributes.get(self._key_card)
