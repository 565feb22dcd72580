"""Lacuna's methods, data sets, maskers and loader for PyTorch.

Tensors are torch tensors that share memory with C++; a method's parameters train with torch.optim, its loss with
loss.total.backward(). What a user can mend is raised as lacuna.Error (a ValueError).
"""

import torch  # first: it loads the LibTorch that the module below is linked to

try:
    from . import _lacuna
    from ._lacuna import *  # noqa: F403
except ImportError as error:
    raise ImportError(
        f"{error}; if lacuna was built with another torch than {torch.__version__}, build it again with this one: "
        "pip install --no-build-isolation ."
    ) from error

__version__ = _lacuna.VERSION

if _lacuna.TORCH_VERSION != torch.__version__.split("+")[0]:
    raise ImportError(
        f"lacuna was built with torch {_lacuna.TORCH_VERSION}, this is {torch.__version__}; build it again with this "
        "one: pip install --no-build-isolation ."
    )
