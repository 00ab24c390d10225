"""Names of everything in a job folder, in one place."""

import re

#: version of the layout; raised when a reader of the old one would misread the new one
SCHEMA_VERSION = 1

JOB_FILE = 'job.yaml'
INPUTS = 'inputs'
RESULTS = 'results'
#: in the results folder, marks of what is in progress
RUNNING = '.running'
SUMMARY_FILE = 'results.json'
POTENTIAL_FILE = 'potential.safetensors'
#: by architecture, where the file has another format
OTHER_POTENTIAL_FILES = {'mattersim': 'potential.pth'}

RESULT_FILE = 'result.json'
ARRAYS_FILE = 'arrays.hdf5'
FORCE_CONSTANTS_FILE = 'force_constants.hdf5'
PHONOPY_FILE = 'phonopy.yaml'
#: of ``task: phonon_steps``, beside the three above: the relaxed crystal, and the cell of its force constants
RELAXED_FILE = 'relaxed.hdf5'
UNIT_CELL_FILE = 'unitcell.hdf5'

#: of ``task: train``: what it makes, by architecture, and the folder of its state and log
TRAINED_FILE = 'trained.safetensors'
TRAINED_FILES = {'dx': TRAINED_FILE, 'mattersim': 'trained.pth'}
TRAINING = 'training'
TRAINING_LOG = 'log.jsonl'

TASKS = ('relax', 'force_constants', 'phonons', 'phonon_steps', 'evaluate', 'train', 'displace')
#: the others need a checkpoint
TASKS_WITHOUT_POTENTIAL = ('phonons', 'train')

_KEY = re.compile(r'[A-Za-z][A-Za-z0-9_]{0,79}')


def check_key(key: str) -> str:
    """A key names files and AiiDA ports: letters, digits and underscores only.

    :raises ValueError: for anything else, such as a path.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key) or '__' in key:
        raise ValueError(f'key: got {key!r}, wanted a letter followed by letters, digits or single underscores')
    return key
