"""LDA silicon by pw.x, and a potential measured against it, as a script to edit.

``bash workflows/dft_reference_silicon.sh`` installs what is missing and runs this with a profile of its own;
``verdi run workflows/dft_reference_silicon.py FOLDER`` runs it in yours. Rows and page are written into FOLDER; run
again, finished jobs come from AiiDA's cache.
"""

import json
import re
import sys
from pathlib import Path

from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import CalcJobNode, ProcessNode, QueryBuilder, SinglefileData
from ase.build import bulk

from aiida_mlfc.cli.profile import load_or_create_code, load_or_create_profile
from aiida_mlfc.cli.reference_compute import load_or_create_espresso, summary
from aiida_mlfc.data.crystals import structure_nodes
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.pseudo_families import family_of_files, upf_files
from aiida_mlfc.data.references import add_to_group
from aiida_mlfc.workchains.comparison import ComparisonWorkChain
from aiida_mlfc.workchains.dft_reference import DftReferenceWorkChain

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else '.dft-silicon')
PSEUDOS = [Path('/usr/share/espresso/pseudo/Si.pz-vbc.UPF')]  # of Debian's quantum-espresso-data
POTENTIAL = 'dx-demo'
#: the experimental cell to start from; pw.x relaxes it
CRYSTAL = bulk('Si', 'diamond', a=5.431)
SETTINGS = {
    'cutoff_wfc': 20.0,
    'cutoff_rho': 80.0,
    # 16 atoms hold Γ, X and L exactly
    'supercell_matrix': [2, 2, 2],
    'kpoints_mesh': [2, 2, 2],
    'kpoints_offset': [0.5, 0.5, 0.5],
}

load_or_create_profile(None)


def finished(builder):
    """Run a work chain in this process and take nothing less than success."""
    with enable_caching(identifier='aiida.calculations:*'):
        outputs, node = run_get_node(builder)
    if not node.is_finished_ok:
        sys.exit(f'{node.process_label}<{node.pk}>: {node.exit_message or node.exception}')
    return outputs, node


def cpu_seconds(job):
    """What pw.x says it used: wall times mean little on a machine that does other things too."""
    text = job.outputs.retrieved.base.repository.get_object_content('aiida.out')
    units = {'h': 3600, 'm': 60, 's': 1}
    spent = re.findall(r'PWSCF +:(.*)CPU', text)[-1]
    return sum(float(number) * units[unit] for number, unit in re.findall(r'([0-9.]+)([hms])', spent))


structure = next(iter(structure_nodes([('silicon', CRYSTAL, 'ase.build.bulk')]).values()))
reference, reference_node = finished(
    DftReferenceWorkChain.get_builder_from_protocol(
        load_or_create_espresso(None, 'pw'),
        structure,
        pseudo_family=family_of_files(upf_files(PSEUDOS, ['Si'])),
        electronic_type='insulator',
        relax_type='positions_cell',
        overrides=SETTINGS,
    )
)
force_constants = reference['force_constants']
force_constants.label = 'silicon'
add_to_group([force_constants])

comparison, comparison_node = finished(
    ComparisonWorkChain.get_builder_from_protocol(
        load_or_create_code(None), {'silicon': force_constants}, PotentialData.get_or_create(POTENTIAL), 'balanced'
    )
)
found = comparison['comparisons']['silicon'].get_dict()

OUTPUT.mkdir(exist_ok=True)
(OUTPUT / 'reference.json').write_text(json.dumps(summary(reference_node), indent=2))
(OUTPUT / 'comparison.json').write_text(json.dumps(found, indent=2))
(OUTPUT / 'comparison.html').write_text(comparison['page'].get_content())

print(f'\nLDA silicon: a = {2**0.5 * reference["output_structure"].cell_lengths[0]:.4f} Å')
print(f'Γ optical mode: {summary(reference_node)["gamma_frequencies"][-1]:.3f} THz')
for part in ('model', 'relaxation', 'total'):
    print(f'{part:10} {found["split"][part]["frequency_mae"]:.4f} THz mean, ', end='')
    print(f'{found["split"][part]["frequency_max_error"]:.4f} THz at most')
for step, part in found['split']['numerical'].items():
    print(f'numerical  {part["frequency_mae"]:.5f} THz mean, finite differences of {step} Å against autograd')
runs = [
    cpu_seconds(job)
    for job in reference_node.called_descendants
    if isinstance(job, CalcJobNode) and job.inputs.parameters['CONTROL']['calculation'] == 'scf'
]
# wall time of the derivatives alone, and of all about the crystal: symmetry, expansion, truncation error; besides,
# a process needs some seconds to start, once for all crystals of a job
derivatives = found['cost']['potential_seconds']
crystal = comparison['autograd']['silicon'].creator.outputs.output_parameters['silicon']['seconds']
error = 100 * found['split']['model']['relative_frobenius']
print(f'pw.x: {sum(runs):.1f} CPU s for {len(runs)} cells of 16 atoms')
print(f'{POTENTIAL}: {derivatives:.2f} s for the derivatives, {crystal:.2f} s in all; {error:.1f} % off')

# The way back from the page, by links alone.
query = QueryBuilder().append(SinglefileData, filters={'uuid': comparison['page'].uuid}, tag='page')
query.append(ProcessNode, with_descendants='page', tag='process', project='*').order_by({'process': {'ctime': 'asc'}})
steps = [f'{node.process_label} {node.uuid}' for node in query.distinct().all(flat=True)]
(OUTPUT / 'provenance.txt').write_text('\n'.join([*steps, f'page {comparison["page"].uuid}']) + '\n')
print(f'{len(steps)} steps from the structure over pw.x to the page: {OUTPUT / "provenance.txt"}')
print(f'reference {reference_node.uuid}, comparison {comparison_node.uuid}')
