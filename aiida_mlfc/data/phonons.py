"""Phonon results as AiiDA's and aiida-phonopy's nodes, and back as a record."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.orm import BandsData, Dict, XyData

from aiida_mlfc.core.phonons.record import Bands, DensityOfStates, Phonons, Stability, ThermalProperties

#: outputs of a phonon calculation, the names of aiida-phonopy's where it has one
BANDS, TOTAL_DOS, PROJECTED_DOS = 'phonon_bands', 'total_phonon_dos', 'projected_phonon_dos'
THERMAL, STABILITY = 'thermal_properties', 'stability'
OUTPUTS = {BANDS: BandsData, TOTAL_DOS: XyData, PROJECTED_DOS: XyData, THERMAL: XyData, STABILITY: Dict}


def phonon_nodes(arrays: dict[str, Any], data: dict[str, Any], cell: np.ndarray) -> dict[str, Any]:
    """Unstored nodes of one crystal.

    :param arrays: content of ``arrays.hdf5`` of a ``phonons`` result.
    :param data: ``data`` of its ``result.json``.
    :param cell: primitive lattice vectors as rows, Å.
    """
    bands, dos, thermal, stability = (arrays[name] for name in ('bands', 'dos', 'thermal', 'stability'))
    bands_node = BandsData()
    bands_node.set_cell(cell)
    bands_node.set_kpoints(bands['qpoints'])
    bands_node.set_bands(bands['frequencies'], units='THz')
    ends = [(int(a), int(b) - 1) for a, b in bands['segments']]
    bands_node.labels = [
        (index, str(label))
        for pair, names in zip(ends, bands['labels'], strict=True)
        for index, label in zip(pair, names, strict=True)
    ]
    bands_node.set_array('distances', bands['distances'])
    bands_node.set_array('segments', bands['segments'])
    total = XyData()
    total.set_x(dos['frequency_points'], 'frequency_points', 'THz')
    total.set_y(dos['total_dos'], 'total_dos', '1/THz')
    projected = XyData()
    projected.set_x(dos['frequency_points'], 'frequency_points', 'THz')
    symbols = [str(s) for s in dos['symbols']]
    projected.set_y(list(dos['projected_dos']), symbols, ['1/THz'] * len(symbols))
    properties = XyData()
    properties.set_x(thermal['temperatures'], 'temperatures', 'K')
    properties.set_y(
        [thermal['free_energy'], thermal['entropy'], thermal['heat_capacity']],
        ['free_energy', 'entropy', 'heat_capacity'],
        ['kJ/mol', 'J/K/mol', 'J/K/mol'],
    )
    curve = {
        'thresholds': stability['thresholds'].tolist(),
        'unstable_fraction': stability['unstable_fraction'].tolist(),
    }
    return {
        BANDS: bands_node,
        TOTAL_DOS: total,
        PROJECTED_DOS: projected,
        THERMAL: properties,
        STABILITY: Dict({**data, 'curve': curve}),
    }


def phonon_record(nodes: dict[str, Any]) -> Phonons:
    """The record back from stored nodes, for figures and pages.

    :param nodes: by output name, as :func:`phonon_nodes` made them.
    """
    bands, values = nodes[BANDS], nodes[STABILITY].get_dict()
    segments = bands.get_array('segments')
    names = dict(bands.labels)
    symbols, projected = zip(*[(name, y) for name, y, _ in nodes[PROJECTED_DOS].get_y()], strict=True)
    thermal = {name: y for name, y, _ in nodes[THERMAL].get_y()}
    return Phonons(
        bands=Bands(
            bands.get_kpoints(),
            bands.get_array('distances'),
            bands.get_bands(),
            segments,
            [(names[int(a)], names[int(b) - 1]) for a, b in segments],
        ),
        dos=DensityOfStates(
            nodes[TOTAL_DOS].get_x()[1],
            nodes[TOTAL_DOS].get_y()[0][1],
            np.array(projected),
            list(symbols),
            tuple(values['mesh']),
        ),
        thermal=ThermalProperties(
            nodes[THERMAL].get_x()[1],
            thermal['free_energy'],
            thermal['entropy'],
            thermal['heat_capacity'],
            values['zero_point_energy'],
        ),
        stability=Stability(
            values['min_frequency'],
            tuple(values['min_frequency_qpoint']),
            values['max_frequency'],
            values['noise_floor'],
            np.array(values['curve']['thresholds']),
            np.array(values['curve']['unstable_fraction']),
            values['verdicts'],
        ),
        gamma_frequencies=np.array(values['gamma_frequencies']),
        with_nac=values['with_nac'],
        warnings=values['warnings'],
    )
