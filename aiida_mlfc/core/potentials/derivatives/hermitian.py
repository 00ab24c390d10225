"""Second derivatives of one energy are Hermitian; what is not belongs to no energy, or to another one."""

from __future__ import annotations

import numpy as np
import torch


def check_hermitian(fields: np.ndarray, products: np.ndarray, dtype: torch.dtype) -> None:
    """v_k* Φ v_l and the conjugate of v_l* Φ v_k must agree to rounding: no symmetry of the crystal enters.

    :param fields: v, shape ``(n_fields, n)``.
    :param products: Φ v, shape ``(n_fields, n)``, eV/Å².
    :param dtype: floating type that the products were computed in.
    :raises RuntimeError: if they differ by more than rounding.
    """
    forms = fields.conj() @ products.T
    residual = np.abs(forms - forms.conj().T).max(initial=0)
    limit = np.sqrt(torch.finfo(dtype).eps) * np.abs(products).max(initial=0)
    # Written so that NaN fails, too.
    if not residual <= limit:
        raise RuntimeError(
            f'force constants at q: not Hermitian by {residual:.2e} eV/Å², wanted at most {limit:.2e} (rounding): '
            'the second derivatives of the potential do not belong to one energy'
        )
