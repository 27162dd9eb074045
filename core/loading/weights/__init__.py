"""A `Transformer` from a `ModelDescription`: `plan` says which tensors, `reading` reads them, `building` assigns them.

The model is created on the meta device, without memory; then each parameter is assigned. A tensor that the file stores
in the layout and number format of the parameter stays mapped. Any other is copied, one parameter at a time. Then the
file's pages are released.
"""

from core.loading.weights.building import build_model as build_model
from core.loading.weights.building import compile_model as compile_model
from core.loading.weights.packing import FLOAT32 as FLOAT32
from core.loading.weights.packing import unpacked as unpacked
