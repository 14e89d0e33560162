"""The passes: one file each. ALL names them; its order means nothing."""

from __future__ import annotations

from .calibrate import Calibrate
from .contract import Pass
from .convert_to_float16 import ConvertToFloat16
from .distill import Distill
from .export import Export
from .factorize import Factorize
from .fold_batchnorm import FoldBatchnorm
from .insert_quantization import InsertQuantization
from .learn_rounding import LearnRounding
from .prune_blocks import PruneBlocks
from .prune_channels import PruneChannels
from .prune_elements import PruneElements
from .quantize_weights import QuantizeWeights
from .recover import Recover
from .share_weights import ShareWeights
from .sparsify_2_4 import SparsifyTwoFour
from .train_quantized import TrainQuantized

ALL: tuple[type[Pass], ...] = (
    Calibrate,
    ConvertToFloat16,
    Distill,
    Export,
    Factorize,
    FoldBatchnorm,
    InsertQuantization,
    LearnRounding,
    PruneBlocks,
    PruneChannels,
    PruneElements,
    QuantizeWeights,
    Recover,
    ShareWeights,
    SparsifyTwoFour,
    TrainQuantized,
)
